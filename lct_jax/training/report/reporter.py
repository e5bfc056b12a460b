"""Where reports of a run are written: JSON lines, TensorBoard, and the progress bar of process 0.

    WORKDIR/metrics.jsonl    one object a report: {"step": ..., "loss": ..., ...}
    WORKDIR/tensorboard/     the same for TensorBoard
    WORKDIR/notes.txt        what a person should know of, such as updates that were not made

A run that resumes first drops lines later than the step that it resumes from, so each step has one line. The other
processes compute the same reports and write nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from lct_jax.errors import InputError, call_before_last_line
from lct_jax.files import replace_atomically


class Reporter:
    """Writes reports of a run.

    Args:
        workdir: the run's work folder.
        start: the step at which this process resumes.
        stop: the last step of the run.
    """

    def __init__(self, workdir: Path, *, start: int, stop: int) -> None:
        self.path = workdir / "metrics.jsonl"
        drop_later(self.path, start)
        self._board = _open_board(workdir / "tensorboard", purge_step=start + 1)
        self.bar = tqdm(total=stop, initial=start, desc=workdir.name, unit="step", smoothing=0.1)
        call_before_last_line(self.bar.close)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes one report to the file and to TensorBoard, and shows its main numbers in the bar.

        Raises:
            InputError: a file cannot be written, for example because the disk is full.
        """
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
                # A kill must not lose reports of steps that a resumed run does not run again.
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
        """Prints a line above the bar, and adds it to WORKDIR/notes.txt."""
        with (self.path.parent / "notes.txt").open("a") as file:
            file.write(line + "\n")
        self.bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Closes the bar and the TensorBoard file."""
        self.bar.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, *, purge_step: int) -> Any | None:
    """Returns a writer for TensorBoard, or None with a line on stderr where tensorboardX is not installed."""
    try:
        # It would import PyTorch where that is installed, for seconds and for nothing that is used here.
        with hide_module("torch"):
            from tensorboardX import SummaryWriter
    except ImportError:
        print(f"note: {folder}: not written, tensorboardX is not installed", file=sys.stderr)
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)


@contextmanager
def hide_module(name: str) -> Iterator[None]:
    """Lets imports inside find no module of this name; one that is imported already stays as it is."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None
    try:
        yield
    finally:
        del sys.modules[name]


# Values that the bar shows after its own: steps, steps a second and the remaining time.
BAR_NAMES = {
    "loss": "loss",
    "tokens_per_second": "tok/s",
    "fill": "fill",
    "useful_mfu": "MFU",
}


class SilentReporter:
    """Stands in for a `Reporter` on processes that do not report."""

    def __init__(self) -> None:
        self.bar = tqdm(disable=True)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes nothing."""

    def note(self, line: str) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Does nothing."""


def make_reporter(workdir: Path, *, start: int, stop: int) -> Reporter | SilentReporter:
    """Returns the reporter of this process; arguments are those of `Reporter`."""
    if jax.process_index():
        return SilentReporter()
    return Reporter(workdir, start=start, stop=stop)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def drop_later(path: Path, step: int) -> None:
    """Removes the lines of steps that will be run again from a log, and a line that a kill cut short."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    with replace_atomically(path) as unfinished:
        unfinished.write_text("".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    """Returns the step of a line; a line that a kill cut short counts as later than everything."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return float("inf")
