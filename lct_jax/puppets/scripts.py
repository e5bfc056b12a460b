r"""Writes scripts of puppet scenes, each with its rendered shots beside it, for sampling and for `evaluate.py`.

    python -m lct_jax.puppets.scripts --scenes=8 --shots=8 --out=runs/puppets_scripts

`OUT/NAME.json` is a script, and `OUT/NAME/shot_01.mp4` and so on are its shots. The scenes are those of
the seed of `lct_jax.evaluation.puppets`, of which none is trained on: half of what is shown is left out of the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lct_jax.cli import define_path, run
from lct_jax.directing.save_script import save_script
from lct_jax.errors import make_folder
from lct_jax.evaluation.puppets import SEED, lengthen
from lct_jax.files import replace_folder
from lct_jax.media.video import write_video
from lct_jax.puppets.scene import Drawing
from lct_jax.puppets.worlds import WORLDS, find_world

FPS = 12.0  # of the puppet configs
# Pixels are enlarged by this factor, so that hardly anything of them is lost in a video.
SCALE = 8


def write_scene(folder: Path, number: int, *, drawing: Drawing, world: str) -> None:
    """Writes one script and its rendered shots."""
    drawn_in = find_world(world)
    scene = drawn_in.draw_scene(SEED, number, drawing)
    name = f"scene_{number:03d}"
    with replace_folder(folder / name) as unfinished:
        for place, shot in enumerate(scene.shots):
            path = unfinished / f"shot_{place + 1:02d}.mp4"
            write_video(
                path, drawn_in.render_shot(scene, shot), FPS, scale=SCALE, upscaler="nearest"
            )
    save_script(folder / f"{name}.json", drawn_in.write_script(scene))


def main(argv: Sequence[str]) -> None:
    del argv
    make_folder(Path(OUT.value))
    drawing = lengthen(SHOTS.value, WORLD.value, characters=CHARACTERS.value)
    for number in range(SCENES.value):
        write_scene(Path(OUT.value), number, drawing=drawing, world=WORLD.value)
    print(f"{OUT.value}: {SCENES.value} scripts of {SHOTS.value} shots")


if __name__ == "__main__":
    SCENES = flags.DEFINE_integer("scenes", 8, "How many scenes.", lower_bound=1)
    SHOTS = flags.DEFINE_integer("shots", 8, "Shots of a scene.", lower_bound=7)
    CHARACTERS = flags.DEFINE_integer(
        "characters", 2, "Characters of a scene.", lower_bound=1, upper_bound=2
    )
    WORLD = flags.DEFINE_enum("world", "puppets", list(WORLDS), "World that scenes are drawn in.")
    OUT = define_path("out", "Folder of the scripts.", required=True)
    run(main)
