"""Numbers of a run: JSON lines, TensorBoard, and the progress bar.

    WORKDIR/metrics.jsonl    one object a report: {"step": ..., "loss": ..., ...}
    WORKDIR/tensorboard/     the same for TensorBoard

A run that resumes first drops lines later than the step it resumes from, so every step stands there once.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from lct_jax.types import PADDING_SCENE, PackedBatch


class Reporter:
    """Writes reports of a run.

    Args:
        workdir: of the run. start, stop: steps of this process; `start` is where it resumes.
    """

    def __init__(self, workdir: Path, *, start: int, stop: int) -> None:
        self.path = workdir / "metrics.jsonl"
        _drop_later(self.path, start)
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

    def close(self) -> None:
        """Ends the bar and the TensorBoard file."""
        self.bar.close()
        self._board.close()


BAR_NAMES = {"loss": "loss", "tokens_per_second": "tok/s", "fill": "fill"}


class Meter:
    """Gathers the metrics of steps between two reports; the device is asked only when a report is due."""

    def __init__(self) -> None:
        self._reset()

    def add(self, batch: PackedBatch, metrics: dict[str, jax.Array]) -> None:
        """One step: its batch (on the host) and its metrics (on the device)."""
        used = np.asarray(batch.video.index.scene) != PADDING_SCENE
        self._tokens += int(used.sum())
        self._slots += used.size
        self._metrics.append(metrics)

    def report(self) -> dict[str, float]:
        """Means since the last report, video tokens a second and the fill of the rows."""
        gathered = jax.device_get(self._metrics)
        values = {name: float(np.mean([m[name] for m in gathered])) for name in gathered[0]}
        seconds = time.perf_counter() - self._start
        values["tokens_per_second"] = self._tokens / seconds
        values["fill"] = self._tokens / self._slots
        self._reset()
        return values

    def _reset(self) -> None:
        self._metrics: list[dict[str, jax.Array]] = []
        self._tokens = self._slots = 0
        self._start = time.perf_counter()


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def _drop_later(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in kept))
    partial.replace(path)


def _step_of(line: str) -> float:
    """The step of a line; a line cut short by a kill counts as later than everything."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return float("inf")
