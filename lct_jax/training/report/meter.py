"""Numbers of a run: JSON lines, TensorBoard, and the progress bar.

    WORKDIR/metrics.jsonl    one object a report: {"step": ..., "loss": ..., ...}
    WORKDIR/tensorboard/     the same for TensorBoard
    WORKDIR/notes.txt        what a person should know of, such as updates that were not made

A run that resumes first drops lines later than the step it resumes from, so every step stands there once. What is
measured with a clock (`CLOCKED`) leaves out compilation, evaluation, saves and the writing of traces.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from lct_jax.errors import InputError, call_before_last_line
from lct_jax.flow import TIME_BUCKETS, Breakdown
from lct_jax.media.files import replace_atomically
from lct_jax.training.report.throughput import Throughput
from lct_jax.training.state import BREAKDOWN, IN_A_ROW, SIZES

CLOCKED = (
    *("steps_per_second", "tokens_per_second", "save_seconds"),
    *("useful_flops_per_second", "computed_flops_per_second", "useful_mfu", "computed_mfu"),
)


class Reporter:
    """Writes reports of a run.

    Args:
        workdir: of the run. start, stop: steps of this process; `start` is where it resumes.
    """

    def __init__(self, workdir: Path, *, start: int, stop: int) -> None:
        self.path = workdir / "metrics.jsonl"
        drop_later(self.path, start)
        self._board = _open_board(workdir / "tensorboard", purge_step=start + 1)
        self.bar = tqdm(total=stop, initial=start, desc=workdir.name, unit="step", smoothing=0.1)
        call_before_last_line(self.bar.close)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One report: to the file, to TensorBoard, and its main numbers to the bar.

        Raises:
            InputError: the disk is full, for one.
        """
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
                # A kill must not take reports along that a resumed run does not write again.
                self._board.flush()
        except OSError as error:
            raise InputError(
                f"{self.path.parent}: the report of step {step} cannot be written ({error.strerror}); "
                "the run goes on from its last checkpoint once it can"
            ) from error
        shown = {short: _short(values[name]) for name, short in BAR_NAMES.items() if name in values}
        if shown:
            self.bar.set_postfix(shown)

    def note(self, line: str) -> None:
        """A line for whoever watches, above the bar, and for later in WORKDIR/notes.txt."""
        with (self.path.parent / "notes.txt").open("a") as file:
            file.write(line + "\n")
        self.bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Ends the bar and the TensorBoard file."""
        self.bar.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, *, purge_step: int) -> Any | None:
    """Returns a writer for TensorBoard, or None where tensorboardX is not installed, which a line on stderr says."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print(f"note: {folder}: not written, tensorboardX is not installed", file=sys.stderr)
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)


# Beside what the bar shows itself: steps, steps a second and the time that is left.
BAR_NAMES = {
    "loss": "loss",
    "tokens_per_second": "tok/s",
    "fill": "fill",
    "useful_mfu": "MFU",
}


class Report(NamedTuple):
    """What a `Meter` makes of some steps.

    Attributes:
        values: by name. skipped: steps whose update was not made. in_a_row: how many of them at the end.
    """

    values: dict[str, float]
    skipped: tuple[int, ...]
    in_a_row: int


class Meter:
    """Gathers the metrics of steps between two reports; the device is asked only when a report is due."""

    def __init__(self, throughput: Throughput) -> None:
        self._throughput = throughput
        self._before: dict[str, Any] | None = None
        self._metrics: dict[int, dict[str, Any]] = {}
        self._save_seconds = 0.0
        self.restart_clock()

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """One step: what it gave, on the device. The first one of a process is compiled and not timed.

        Waits for the step before: the host would run ahead by many, and a request to stop would wait for all of them.
        """
        self._metrics[step] = metrics
        if self._before is None:
            jax.block_until_ready(metrics)
            self.restart_clock()
        jax.block_until_ready(self._before)
        self._before = metrics

    def add_save(self, seconds: float) -> None:
        """What a save took, for the next report."""
        self._save_seconds += seconds

    def restart_clock(self) -> None:
        """After a report, and what is done then beside training: the time of steps begins anew."""
        self._untimed = len(self._metrics)
        self._start = time.perf_counter()

    def report(self) -> Report:
        """Means over the updates made since the last report (losses: over samples); rates and fill of all steps."""
        gathered = jax.device_get(self._metrics)
        seconds = time.perf_counter() - self._start
        in_a_row = [int(metrics.pop(IN_A_ROW)) for metrics in gathered.values()]
        works = [self._throughput.count(metrics.pop(SIZES)) for metrics in gathered.values()]
        skipped = tuple(s for s, missed in zip(gathered, in_a_row, strict=True) if missed)
        made = [metrics for step, metrics in gathered.items() if step not in skipped]
        parts = [metrics.pop(BREAKDOWN) for metrics in made]
        values = {name: float(np.mean([m[name] for m in made])) for name in (made or [{}])[0]}
        if made:  # a sample counts the same in whatever batch it lies; the weights of each sum to 1
            samples = [part.time[0].sum() for part in parts]
            values["loss"] = float(np.average([m["loss"] for m in made], weights=samples))
            values |= name_parts(parts)
        values["skipped"] = len(skipped)
        values["fill"] = sum(work.tokens for work in works) / sum(work.slots for work in works)
        values["time_fill"] = sum(work.mean for work in works) / sum(work.most for work in works)
        if timed := works[self._untimed :]:
            values |= self._throughput.rate(timed, seconds)
        if self._save_seconds:
            values["save_seconds"] = self._save_seconds
        self._metrics, self._save_seconds = {}, 0.0
        self.restart_clock()
        return Report(values, skipped, in_a_row[-1])


def name_parts(parts: Sequence[Breakdown]) -> dict[str, float]:
    """Mean losses by time and by shot over some steps, weighted as in the loss; what did not occur is left out."""
    time, shot = (np.sum(sums, axis=0) for sums in zip(*parts, strict=True))
    edges = [f"{bucket / TIME_BUCKETS:g}" for bucket in range(TIME_BUCKETS + 1)]
    names = [
        *(f"loss_by_time/{low}-{high}" for low, high in itertools.pairwise(edges)),
        *(f"loss_by_shot/{number}" for number in range(1, shot.shape[1] + 1)),
    ]
    weights, errors = np.concatenate([time, shot], axis=1)
    return {n: float(e / w) for n, w, e in zip(names, weights, errors, strict=True) if w > 0}


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def drop_later(path: Path, step: int) -> None:
    """Takes lines of steps that will be done again out of a log, and one cut short by a kill."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    with replace_atomically(path) as unfinished:
        unfinished.write_text("".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    """The step of a line; a line cut short by a kill counts as later than everything."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return float("inf")
