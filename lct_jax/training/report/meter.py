"""The meter of a run gathers the metrics of steps and makes reports of them.

Values that are measured with a clock (`CLOCKED`) leave out compilation, evaluation, saves and the writing of traces.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from lct_jax.flow import TIME_BUCKETS, Breakdown
from lct_jax.training.report.metrics import Metrics
from lct_jax.training.report.throughput import Throughput

CLOCKED = (
    *("steps_per_second", "tokens_per_second", "save_seconds"),
    *("useful_flops_per_second", "computed_flops_per_second", "useful_mfu", "computed_mfu"),
)


class Report(NamedTuple):
    """The report of some steps.

    Attributes:
        values: numbers by name.
        skipped: the steps whose update was refused.
        in_a_row: how many updates in a row were refused at the end.
    """

    values: dict[str, float]
    skipped: tuple[int, ...]
    in_a_row: int


class Meter:
    """Gathers the metrics of steps between two reports; they are fetched from the device only for a report."""

    def __init__(self, throughput: Throughput) -> None:
        self._throughput = throughput
        self._before: Metrics | None = None
        self._metrics: dict[int, Metrics] = {}
        self._save_seconds = 0.0
        self.restart_clock()

    def add(self, step: int, metrics: Metrics) -> None:
        """Adds the metrics of one step, which are on the device. The first one of a process is compiled and not timed.

        This waits for the step before, since otherwise the host would run many steps ahead, and a request to stop would
        wait for all of them.
        """
        self._metrics[step] = metrics
        if self._before is None:
            jax.block_until_ready(metrics)
            self.restart_clock()
        jax.block_until_ready(self._before)
        self._before = metrics

    def add_save(self, seconds: float) -> None:
        """Adds the duration of a save to the next report."""
        self._save_seconds += seconds

    def restart_clock(self) -> None:
        """Restarts the timing of steps, after a report and after other work than training."""
        self._untimed = len(self._metrics)
        self._start = time.perf_counter()

    def report(self) -> Report:
        """Returns means over the updates since the last report (of losses, over samples), and rates and fill of all
        steps.
        """
        gathered = jax.device_get(self._metrics)
        seconds = time.perf_counter() - self._start
        works = [self._throughput.count(metrics.sizes) for metrics in gathered.values()]
        skipped = tuple(step for step, metrics in gathered.items() if metrics.skipped_in_a_row)
        made = [metrics for metrics in gathered.values() if not metrics.skipped_in_a_row]
        values: dict[str, float] = {}
        if made:
            # The weights of each sample sum to 1, so that it counts the same in whatever batch it is.
            samples = [metrics.breakdown.time[0].sum() for metrics in made]
            values["loss"] = float(np.average([m.loss for m in made], weights=samples))
            values["gradient_norm"] = float(np.mean([m.gradient_norm for m in made]))
            values |= name_parts([metrics.breakdown for metrics in made])
        values["skipped"] = len(skipped)
        values["fill"] = sum(work.tokens for work in works) / sum(work.slots for work in works)
        values["time_fill"] = sum(work.mean for work in works) / sum(work.most for work in works)
        if timed := works[self._untimed :]:
            values |= self._throughput.rate(timed, seconds)
        if self._save_seconds:
            values["save_seconds"] = self._save_seconds
        self._metrics, self._save_seconds = {}, 0.0
        self.restart_clock()
        last = next(reversed(gathered.values()))
        return Report(values, skipped, int(last.skipped_in_a_row))


def name_parts(parts: Sequence[Breakdown]) -> dict[str, float]:
    """Returns mean losses by time and by shot over some steps, weighted as in the loss; empty buckets are left out."""
    time, shot = (np.sum(sums, axis=0) for sums in zip(*parts, strict=True))
    edges = [f"{bucket / TIME_BUCKETS:g}" for bucket in range(TIME_BUCKETS + 1)]
    names = [
        *(f"loss_by_time/{low}-{high}" for low, high in itertools.pairwise(edges)),
        *(f"loss_by_shot/{number}" for number in range(1, shot.shape[1] + 1)),
    ]
    weights, errors = np.concatenate([time, shot], axis=1)
    return {n: float(e / w) for n, w, e in zip(names, weights, errors, strict=True) if w > 0}
