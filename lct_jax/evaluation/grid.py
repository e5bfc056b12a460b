r"""Draws sampled scenes on one picture: a row for each scene, with its prompts and the middle frame of every shot.

    python -m lct_jax.evaluation.grid --samples=runs/table/samples/joint --count=4 --out=runs/grid.png

`--samples` is a folder of scenes, each a folder as `sample.py` and `evaluate.py` write it; the first ones by name are
drawn, as they were sampled. The credit of the footage stands below.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, PngImagePlugin

from lct_jax.cli import define_path, run
from lct_jax.directing.prompts import SHOT_CUT_TAG
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.media.page_text import draw_line, wrap
from lct_jax.media.video import read_video, resize
from lct_jax.scene_files.record import FORMER, MANIFEST, read_texts
from lct_jax.scene_files.writer import STORYBOARD

# Lengths are in pixels of the picture.
_PAGE, _MARGIN, _GAP = 960, 20, 6
_BACKGROUND, _BRIGHT, _PLAIN, _MUTED = "#141518", "#f1eee7", "#c3c1bb", "#85878d"
_SIZE, _LEADING = 13, 17
_STRIP = _PAGE - 2 * _MARGIN


@dataclass(frozen=True)
class GridScene:
    """A row of the picture.

    Attributes:
        shared: what is told to all shots; empty where nothing is. prompts: those of the shots.
        frames: a frame of each shot, uint8 [height, width, 3].
        credit: that of the footage, or "".
    """

    shared: str
    prompts: tuple[str, ...]
    frames: tuple[np.ndarray, ...]
    credit: str


def read_scenes(folder: Path, count: int) -> list[GridScene]:
    """Returns the first scenes of a folder, by name.

    Raises:
        InputError: there are none, or one of them was not sampled to its end.
    """
    sampled = sorted(
        {about.parent for name in (MANIFEST, FORMER) for about in folder.glob(f"*/{name}")}
    )
    if not sampled:
        raise InputError(
            f"--samples: {folder}: found no NAME/{MANIFEST} and found no NAME/{FORMER}, expected sampled scenes"
        )
    return [read_scene(scene) for scene in sampled[:count]]


def draw_grid(scenes: Sequence[GridScene]) -> Image.Image:
    """Returns the picture of scenes, one below the other; shots of all have the same width."""
    columns = max(len(scene.frames) for scene in scenes)
    width = (_STRIP + _GAP) // columns - _GAP
    rows = [_draw_row(scene, width) for scene in scenes]
    credits = list(dict.fromkeys(scene.credit for scene in scenes if scene.credit))
    lines = [line for text in credits for line in wrap(text, _SIZE, _STRIP)]
    height = 2 * _MARGIN + sum(row.height for row in rows) + _LEADING * len(lines)
    page = Image.new("RGB", (_PAGE, height), _BACKGROUND)
    top = _MARGIN
    for row in rows:
        page.paste(row, (0, top))
        top += row.height
    _write(ImageDraw.Draw(page), lines, (_MARGIN, top), _MUTED)
    return page


def read_scene(folder: Path) -> GridScene:
    """Returns a scene that was sampled into a folder; raises InputError where it was not sampled to its end."""
    texts, videos = read_texts(folder), sorted((folder / "shots").glob("shot_*.mp4"))
    if not videos or len(texts) not in (len(videos), len(videos) + 1):
        raise InputError(
            f"{folder}: found {len(videos)} videos of shots, expected those of the {len(texts)} prompts of the scene"
        )
    middles = [(frames := read_video(video).frames)[len(frames) // 2] for video in videos]
    return GridScene(
        shared=" ".join(texts[: -len(videos)]),
        prompts=tuple(text.removeprefix(SHOT_CUT_TAG).strip() for text in texts[-len(videos) :]),
        frames=tuple(middles),
        credit=_read_credit(folder),
    )


def _read_credit(folder: Path) -> str:
    """Returns the credit, which a storyboard has as its comment."""
    if (folder / FORMER).is_file():
        return json.loads((folder / FORMER).read_text(encoding="utf-8"))["credit"]
    with Image.open(folder / STORYBOARD) as board:
        return board.text.get("Comment", "")


def _draw_row(scene: GridScene, width: int) -> Image.Image:
    told = wrap(scene.shared, _SIZE, _STRIP) if scene.shared else []
    prompts = [wrap(text, _SIZE, width) for text in scene.prompts]
    heights = [round(width * frame.shape[0] / frame.shape[1]) for frame in scene.frames]
    top = _LEADING * len(told) + _GAP
    below = top + max(heights) + _GAP // 2
    height = below + _LEADING * max(map(len, prompts)) + 3 * _GAP
    row = Image.new("RGB", (_PAGE, height), _BACKGROUND)
    pen = ImageDraw.Draw(row)
    _write(pen, told, (_MARGIN, 0), _BRIGHT)
    for place, (frame, own) in enumerate(zip(scene.frames, heights, strict=True)):
        left = _MARGIN + place * (width + _GAP)
        row.paste(Image.fromarray(resize(frame, own, width)), (left, top))
        _write(pen, prompts[place], (left, below), _PLAIN)
    return row


def _write(
    pen: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[int, int], colour: str
) -> None:
    for number, line in enumerate(lines):
        draw_line(pen, (at[0], at[1] + number * _LEADING), line, _SIZE, colour)


def main(argv: Sequence[str]) -> None:
    del argv
    scenes = read_scenes(Path(SAMPLES.value), COUNT.value)
    comment = PngImagePlugin.PngInfo()
    comment.add_itxt("Comment", scenes[0].credit)
    with replace_atomically(Path(OUT.value)) as unfinished:
        draw_grid(scenes).save(unfinished, format="PNG", pnginfo=comment, optimize=True)
    print(f"{OUT.value}: {len(scenes)} scenes")


if __name__ == "__main__":
    SAMPLES = define_path("samples", "Folder of sampled scenes.", required=True)
    COUNT = flags.DEFINE_integer("count", 4, "The first scenes alone.", lower_bound=1)
    OUT = define_path("out", "The picture, a PNG.", required=True)
    run(main)
