r"""Measures what the patch codec keeps of the village, by its number of channels.

    python -m benchmarks.village_codec --scenes=40

It is fitted to some scenes and measured on fifteen others. There is a row for each number of channels, with the PSNR of
the first frames, which are coded alone, and of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from lct_jax.cli import run
from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.puppets.scene import Drawing
from lct_jax.puppets.worlds import find_world

CHANNELS = (32, 48, 64, 96)
HELD_OUT = 15


def draw_shots(seed: int, scenes: int) -> Iterator[np.ndarray]:
    """Yields all shots of some scenes, uint8 [T, height, width, 3]."""
    world = find_world("village")
    for number in range(scenes):
        scene = world.draw_scene(seed, number, Drawing((2, 6), sizes=world.sizes))
        yield from (world.render_shot(scene, shot) for shot in scene.shots)


def find_psnr(errors: Sequence[float]) -> float:
    """Returns the PSNR in dB of mean squared errors of bytes."""
    return float(10 * np.log10(255**2 / np.mean(errors)))


def main(argv: Sequence[str]) -> None:
    del argv
    fitted, measured = list(draw_shots(77, SCENES.value)), list(draw_shots(78, HELD_OUT))
    print("channels   first frames   all frames")
    for channels in CHANNELS:
        codec = fit_patch_codec(fitted, channels=channels)
        squares = [
            np.square(codec.decode(codec.encode(shot)).astype(np.float64) - shot).mean((1, 2, 3))
            for shot in measured
        ]
        first, every = find_psnr([s[0] for s in squares]), find_psnr(np.concatenate(squares))
        print(f"{channels:8}   {first:9.1f} dB   {every:7.1f} dB")


if __name__ == "__main__":
    SCENES = flags.DEFINE_integer(
        "scenes", 40, "Scenes that the codec is fitted to.", lower_bound=1
    )
    run(main)
