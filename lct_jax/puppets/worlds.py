"""Lists the worlds that scenes are drawn in: flat puppets of 32x32, and the village of 64x96.

A world's labels, pictures, words and reader are its own; what is drawn from a seed, how scripts are built, and what is
measured is common to all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.puppets import motion, render, scene, words
from lct_jax.puppets.motion import SeenShot
from lct_jax.puppets.scene import Drawing, Labels, PuppetScene, PuppetShot, draw_scene
from lct_jax.puppets.village import labels as village
from lct_jax.puppets.village import motion as village_motion
from lct_jax.puppets.village import render as village_render
from lct_jax.puppets.village import words as village_words


@dataclass(frozen=True)
class World:
    """Holds what is particular to a world.

    Attributes:
        labels: what its scenes are made of. sizes: heights and widths of frames. evaluated: the size in evaluations.
        render_shot: returns the frames of a shot, uint8 [T, height, width, 3]. read_shot: reads those, from pixels
            alone. write_script: returns the words of a scene.
    """

    labels: Labels
    sizes: tuple[tuple[int, int], ...]
    evaluated: tuple[int, int]
    render_shot: Callable[[PuppetScene, PuppetShot], np.ndarray]
    read_shot: Callable[[np.ndarray], SeenShot]
    write_script: Callable[[PuppetScene], Script]

    def draw_scene(self, seed: int, number: int, drawing: Drawing) -> PuppetScene:
        """Returns scene `number` of a seed."""
        return draw_scene(seed, number, drawing, self.labels)


WORLDS = {
    "puppets": World(
        scene.PUPPETS,
        scene.SIZES,
        (32, 32),
        render.render_shot,
        motion.read_shot,
        words.write_script,
    ),
    "village": World(
        village.VILLAGE,
        (village.SIZE,),
        village.SIZE,
        village_render.render_shot,
        village_motion.read_shot,
        village_words.write_script,
    ),
}


def find_world(name: str) -> World:
    """Returns a world by its name; raises InputError for an unknown one."""
    if name not in WORLDS:
        raise InputError(f"config.world: found {name!r}, expected {' or '.join(WORLDS)}")
    return WORLDS[name]
