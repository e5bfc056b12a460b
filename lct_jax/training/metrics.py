"""Numbers of a run: JSON lines, TensorBoard, and the progress bar.

    WORKDIR/metrics.jsonl    one object a report: {"step": ..., "loss": ..., ...}
    WORKDIR/tensorboard/     the same for TensorBoard
    WORKDIR/notes.txt        what a person should know of, such as updates that were not made

A run that resumes first drops lines later than the step it resumes from, so every step stands there once.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from lct_jax.files import replace_atomically
from lct_jax.training.state import IN_A_ROW, SAMPLES
from lct_jax.types import PADDING_SCENE, PackedBatch


class Reporter:
    """Writes reports of a run.

    Args:
        workdir: of the run. start, stop: steps of this process; `start` is where it resumes.
    """

    def __init__(self, workdir: Path, *, start: int, stop: int) -> None:
        self.path = workdir / "metrics.jsonl"
        drop_later(self.path, start)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        self.bar = tqdm(total=stop, initial=start, desc=workdir.name, unit="step", smoothing=0.1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One report: to the file, to TensorBoard, and its main numbers to the bar."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()  # a kill must not take reports along that a resumed run does not write again
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
        self._board.close()


BAR_NAMES = {"loss": "loss", "tokens_per_second": "tok/s", "fill": "fill"}


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

    def __init__(self) -> None:
        self._reset()

    def add(self, step: int, batch: PackedBatch, metrics: dict[str, jax.Array]) -> None:
        """One step: its batch (on the host) and its metrics (on the device)."""
        used = np.asarray(batch.video.index.scene) != PADDING_SCENE
        self._tokens += int(used.sum())
        self._slots += used.size
        self._metrics[step] = metrics

    def report(self) -> Report:
        """Means over the updates made since the last report (of the loss: over their samples), video tokens a second
        and the fill of the rows.
        """
        gathered = jax.device_get(self._metrics)
        in_a_row = [int(metrics.pop(IN_A_ROW)) for metrics in gathered.values()]
        skipped = tuple(s for s, missed in zip(gathered, in_a_row, strict=True) if missed)
        made = [metrics for step, metrics in gathered.items() if step not in skipped]
        values = {name: float(np.mean([m[name] for m in made])) for name in (made or [{}])[0]}
        if made:  # a sample counts the same in whatever batch it lies
            losses, samples = ([m[name] for m in made] for name in ("loss", SAMPLES))
            values["loss"] = float(np.average(losses, weights=samples))
        values["skipped"] = len(skipped)
        values["tokens_per_second"] = self._tokens / (time.perf_counter() - self._start)
        values["fill"] = self._tokens / self._slots
        self._reset()
        return Report(values, skipped, in_a_row[-1])

    def _reset(self) -> None:
        self._metrics: dict[int, dict[str, jax.Array]] = {}
        self._tokens = self._slots = 0
        self._start = time.perf_counter()


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
