r"""Draws one puppet scene sampled in several ways on one picture: a row for each way, a column for each shot.

    python -m benchmarks.puppets_picture --checkpoint=runs/puppets --guidance=5 --scene=14 --out=docs/puppets.png

`--checkpoint` is a run's folder, or weights with `--codec=FILE`, as in `lct_jax.evaluation.puppets`. The first row of
the PNG is the rendered scene, of which prompts state only a part; withheld attributes may differ from it, but should
agree between shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont

import lct_jax
from lct_jax.cli import define_sampling, run
from lct_jax.evaluation.puppet_table import ROWS
from lct_jax.evaluation.puppets import DRAWING, SEED, choose_rows, sample_shots
from lct_jax.files import replace_atomically
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import PuppetScene, draw_scene

TITLES = {
    "independent": "independent",
    "joint": "jointly",
    "autoregressive": "shot after shot",
    "causal": "causal, cached",
}
SCALE, GAP, MARGIN, LINE = 3, 6, 130, 18  # pixels: of a pixel, between pictures, of titles, of text
INK, PAPER = "#24272e", "#ffffff"


def describe(scene: PuppetScene) -> str:
    """Returns which of a scene's attributes are stated, and which are withheld."""
    told, kept = (
        ", ".join(f"{name} {value}" for name, value in scene.attributes().items() if wanted(name))
        for wanted in (lambda n: n not in scene.withheld, lambda n: n in scene.withheld)
    )
    return f"told: {told}\nwithheld: {kept}"


def draw(rows: dict[str, Sequence[np.ndarray]], text: str, *, scale: int = SCALE) -> Image.Image:
    """Returns a picture of rows of middle frames, uint8 [height, width, 3] each, under a text."""
    height, width = (scale * side + GAP for side in next(iter(rows.values()))[0].shape[:2])
    top = LINE * (text.count("\n") + 1) + 2 * GAP
    columns = max(len(row) for row in rows.values())
    sheet = Image.new(
        "RGB", (MARGIN + columns * width + GAP, top + len(rows) * height + GAP), PAPER
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    pen.multiline_text((GAP, GAP), text, fill=INK, font=font, spacing=4)
    for number, (title, frames) in enumerate(rows.items()):
        y = top + number * height
        pen.text((GAP, y + height // 2 - LINE), title, fill=INK, font=font)
        for column, frame in enumerate(frames):
            size = (width - GAP, height - GAP)
            picture = Image.fromarray(frame).resize(size, Image.Resampling.NEAREST)
            sheet.paste(picture, (MARGIN + column * width, y))
    return sheet


def main(argv: Sequence[str]) -> None:
    del argv
    generator = lct_jax.load(CHECKPOINT.value, codec=CODEC.value)
    scene = draw_scene(SEED, SCENE.value, DRAWING)
    middle = lambda shots: [frames[len(frames) // 2] for frames in shots]
    rows = {"as drawn": middle([render_shot(scene, shot) for shot in scene.shots])}
    for name in choose_rows(WANTED.value, causal=generator.config.training.context == "causal"):
        shots = sample_shots(generator, scene, ROWS[name], settings=SETTINGS())
        rows[TITLES.get(name, name)] = middle(shots)
    with replace_atomically(Path(OUT.value)) as unfinished:
        draw(rows, describe(scene)).save(unfinished, format="PNG")


if __name__ == "__main__":
    CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run folder or weights.", required=True)
    CODEC = flags.DEFINE_string("codec", None, "Codec weights; default: those in the run's folder.")
    SETTINGS = define_sampling()
    SCENE = flags.DEFINE_integer("scene", 0, "Number of a scene of the evaluation.", lower_bound=0)
    WANTED = flags.DEFINE_string(
        "rows", "independent,joint,autoregressive", "Ways to sample, separated by commas."
    )
    OUT = flags.DEFINE_string("out", None, "The picture, a PNG.", required=True)
    run(main)
