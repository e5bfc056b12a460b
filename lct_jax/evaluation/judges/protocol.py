"""Says what a judge of scenes is, and finds judges by the names of their files in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lct_jax.evaluation.samples import Cases, SampledShots
from lct_jax.plugins import find_plugin


class Judge(Protocol):
    """Scores a scene by whatever it likes, under names of its own.

    Attributes:
        title: what it is, for the table.
    """

    title: str

    def judge(self, shots: SampledShots) -> Cases:
        """Returns the cases of its measures, by name; none where it has no answer."""
        ...


class LoadsJudge(Protocol):
    """What a file in this folder defines as `JUDGE`."""

    def load(self, folder: Path) -> Judge:
        """Returns the judge, which may keep files in a folder; raises InputError where something is missing."""
        ...


def load_judge(name: str, *, folder: Path) -> Judge:
    """Returns the judge that a file of this folder defines; raises InputError for an unknown name."""
    plugin: LoadsJudge = find_plugin(
        name, package="lct_jax.evaluation.judges", attribute="JUDGE", field="--judges"
    )
    return plugin.load(folder)
