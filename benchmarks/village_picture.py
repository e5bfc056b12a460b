r"""Draws scenes of the village on one picture: a row for each scene, a column for each shot, as they are drawn.

    python -m benchmarks.village_picture --scenes=3,6,11,14 --out=docs/village.png

Nothing is sampled: these are the pictures that a model is trained on. Shots are shown by their middle frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from lct_jax.cli import run
from lct_jax.evaluation.puppets import SEED, lengthen
from lct_jax.files import replace_atomically
from lct_jax.puppets.worlds import find_world

SCALE, GAP = 3, 2  # pixels: of a drawn pixel, and, in drawn pixels, between pictures


def draw(numbers: Sequence[int], shots: int) -> np.ndarray:
    """Returns uint8 [height, width, 3]: the middle frames of the first shots of some scenes."""
    world = find_world("village")
    rows = []
    for number in numbers:
        scene = world.draw_scene(SEED, number, lengthen(8, "village"))
        frames = [world.render_shot(scene, shot) for shot in scene.shots[:shots]]
        middles = [np.pad(f[len(f) // 2], ((0, GAP), (0, GAP), (0, 0))) for f in frames]
        rows.append(np.concatenate(middles, axis=1))
    sheet = np.concatenate(rows)[:-GAP, :-GAP]
    return sheet.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def main(argv: Sequence[str]) -> None:
    del argv
    sheet = draw([int(number) for number in SCENES.value], SHOTS.value)
    with replace_atomically(Path(OUT.value)) as unfinished:
        Image.fromarray(sheet).save(unfinished, format="PNG")


if __name__ == "__main__":
    SCENES = flags.DEFINE_list("scenes", ["0", "1", "2"], "Numbers of the scenes.")
    SHOTS = flags.DEFINE_integer("shots", 5, "Shots of each.", lower_bound=1, upper_bound=8)
    OUT = flags.DEFINE_string("out", None, "The picture.", required=True)
    run(main)
