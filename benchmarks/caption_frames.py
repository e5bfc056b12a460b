"""Measures how long the frames for captions take: in one pass over the film, and in a pass for each scene.

    python -m benchmarks.caption_frames

The shots of the film example are taken two by two as scenes, three frames each. The program prints the seconds of both
ways, the second one measured on every tenth scene.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from absl import app

from benchmarks.scene_boundaries import SCENES
from lct_jax.config import FootageConfig
from lct_jax.data.footage.caption_frames import Range, iter_pictures
from lct_jax.data.scene_file import load_scene_file

FPS, SHOTS = 12.0, 2
EVERY = 10  # of the scenes one is read alone


def _time(path: Path, groups: Sequence[Sequence[Sequence[Range]]]) -> float:
    """Returns the seconds that the frames of all groups of scenes take, with a pass over the film for each group."""
    start = time.perf_counter()
    for scenes in groups:
        deque(iter_pictures(path, scenes, fps=FPS, count=FootageConfig().caption_frames), maxlen=0)
    return time.perf_counter() - start


def main(argv: Sequence[str]) -> None:
    del argv
    annotated = load_scene_file(SCENES)
    shots = [(part.start, part.end) for scene in annotated.scenes for part in scene.ranges]
    scenes = [shots[start : start + SHOTS] for start in range(0, len(shots), SHOTS)]
    path = Path(annotated.film.file)
    once = _time(path, [scenes])
    some = [[scene] for scene in scenes[EVERY // 2 :: EVERY]]
    each = _time(path, some) * len(scenes) / len(some)
    print(
        f"{len(scenes)} scenes: {once:.1f} s in one pass, {each:.0f} s with a pass for each scene, "
        f"by {len(some)} of them ({each / once:.0f} times as long)"
    )


if __name__ == "__main__":
    app.run(main)
