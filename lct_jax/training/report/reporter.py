"""Who reports: process 0 of a run; the others compute the same reports and keep them to themselves."""

from __future__ import annotations

from pathlib import Path

import jax
from tqdm import tqdm

from lct_jax.training.report.meter import Reporter


class Mute:
    """In the place of a `Reporter` on processes that do not report."""

    def __init__(self) -> None:
        self.bar = tqdm(disable=True)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def make_reporter(workdir: Path, *, start: int, stop: int) -> Reporter | Mute:
    """The reporter of this process, as `Reporter` takes them."""
    if jax.process_index():
        return Mute()
    return Reporter(workdir, start=start, stop=stop)
