"""Films with a scene file of the user's own, which is used as it is, and what other films of a folder repeat of them.

Their shots are never left out: somebody chose them. A copy of such a film, or of a shot of it, is, as all copies are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lct_jax.config import Config
from lct_jax.data.footage.takes import Takes
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sources import bring_to_rate, open_source
from lct_jax.files import hash_of

# A take of the film is part of its scenes if at least this share of it lies in their shots.
_SHARE = 0.5


@dataclass(frozen=True)
class OwnScenes:
    """Identifies a film and its scene file: the path of the film, the hash of its content, and one of both."""

    path: Path
    film: str
    content: str


def check_scene_file(path: Path, *, config: Config) -> OwnScenes:
    """Returns what a scene file describes; raises InputError where it or its film cannot be read."""
    source = open_source(path, config)
    source.size()
    film = Path(load_scene_file(path).film.file)
    return OwnScenes(film, source.content[0][:16], hash_of(source.content))


def iter_shown(takes: Takes, scenes: Path, *, fps: float) -> Iterator[int]:
    """Yields the kept takes of a film, by number, that its scene file shows; `takes` count frames at `fps`."""
    shown = np.zeros(takes.film[0], bool)
    for scene in bring_to_rate(load_scene_file(scenes), fps).scenes:
        for frames in scene.ranges:
            shown[frames.start : frames.end] = True
    for number, (start, end) in enumerate(takes.frames.tolist()):
        if takes.reason[number] == 0 and shown[start:end].mean() >= _SHARE:
            yield number
