"""The log of a run: everything that watches the training loop, behind one object that the loop calls.

It owns the meter with its clock, the reporter, the notes, the trace of `--profile` and the watch for recompilations.
None of them changes what is trained, but that a run ends where too many updates in a row were not made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from lct_jax.config import TrainingConfig
from lct_jax.training.guard import check_guard
from lct_jax.training.report.meter import Meter
from lct_jax.training.report.metrics import Metrics
from lct_jax.training.report.profile import Profile
from lct_jax.training.report.recompilations import Recompilations
from lct_jax.training.report.reporter import make_reporter
from lct_jax.training.report.throughput import Throughput


class RunLog:
    """Gathers the metrics of steps, and writes reports and notes.

    Args:
        workdir: of the run. training: its config.
        throughput: counts the work of steps.
        profile: traces the steps that are asked for.
        start: the step that this process resumes from.
        describe: returns the records of the batch of a number, for a note.
        notes: what is to be noted at once.
    """

    def __init__(
        self,
        workdir: Path,
        training: TrainingConfig,
        throughput: Throughput,
        profile: Profile,
        *,
        start: int,
        describe: Callable[[int], str],
        notes: Iterable[str],
    ) -> None:
        self._training, self._profile, self._describe = training, profile, describe
        self._reporter = make_reporter(workdir, start=start, stop=training.steps)
        self._meter = Meter(throughput)
        self._recompilations = Recompilations("measured", "errors")
        self._note(notes)

    def watch(self, number: int) -> jax.profiler.StepTraceAnnotation:
        """Returns the context of a step, in which it is traced where that is asked for."""
        return self._profile.before(number)

    def add(self, number: int, metrics: Metrics) -> None:
        """Adds the metrics of a step, which are still on the device, and moves the progress bar."""
        self._meter.add(number, metrics)
        if self._profile.after(number, metrics):
            self._meter.restart_clock()
        self._reporter.bar.update()

    def report(self, number: int, notes: Iterable[str]) -> None:
        """Writes the report of all steps since the last one, and what is to be noted with it.

        Raises:
            InputError: too many updates in a row were not made, or the report cannot be written.
        """
        report = self._meter.report()
        report.values["recompilations"] = self._recompilations.count
        self._reporter.write(number, report.values)
        self._note(
            f"step {skipped}: update not made, of {self._describe(skipped - 1)}"
            for skipped in report.skipped
        )
        self._note(
            f"step {number}: {line}" for line in (*self._recompilations.take_lines(), *notes)
        )
        check_guard(report.in_a_row, self._training)

    def add_evaluation(self, number: int, values: Mapping[str, Any]) -> None:
        """Writes what an evaluation found; its time is not that of steps."""
        self._reporter.write(number, dict(values))
        self._meter.restart_clock()

    def add_save(self, seconds: float) -> None:
        """Adds what a save took, for the next report; its time is not that of steps."""
        self._meter.add_save(seconds)
        self._meter.restart_clock()

    def close(self) -> None:
        """Ends the trace, the bar and the files."""
        self._profile.close()
        self._reporter.close()

    def _note(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._reporter.note(line)
