"""Draws a scene on one page: a PNG with a row of frames for every shot and its prompt beneath.

The page is made from decoded frames and the words they were made from. It can be shown to somebody who has no player at
hand, and carries the credit of the footage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.files import replace_atomically
from lct_jax.media.page_text import draw_line, wrap
from lct_jax.media.video import resize

# Lengths are in pixels of the finished page.
_PAGE, _MARGIN, _GUTTER, _GAP, _CORNER = 2400, 88, 232, 14, 8
_STRIP = _PAGE - 2 * _MARGIN - _GUTTER
_MEASURE = 1720  # Longer lines of text are tiring to read.
_ROW_SPACE = 72
# Pictures of the cast are this high, but no wider than the second; their names have at least the third.
_CAST_HIGH, _CAST_WIDEST, _NAME, _CAST_GAP = 180, 420, 180, 28

_BACKGROUND, _RULE = "#141518", "#2a2c31"
_BRIGHT, _PLAIN, _MUTED = "#f1eee7", "#c3c1bb", "#85878d"
_AMBER, _TEAL = "#e2b36b", "#74bfb4"


@dataclass(frozen=True)
class StoryboardRow:
    """Describes one shot of the page.

    Attributes:
      frames: uint8 RGB [T, X, Y, 3]; rows may differ in size and aspect ratio.
      prompt: the text that the shot was sampled from.
      fps: frames a second, for the length in seconds.
      label: the origin of the frames, such as "generated" or "given".
      cut: False when the shot continues the one before it.
      saw: the numbers, from 1, of the shots that it was sampled to agree with.
      shown: False when the film leaves the shot out.
    """

    frames: np.ndarray
    prompt: str
    fps: float
    label: str = "generated"
    cut: bool = True
    saw: tuple[int, ...] = ()
    shown: bool = True


class CastImage(NamedTuple):
    """A picture of a character or a place, uint8 RGB [X, Y, 3], and the name beneath it."""

    name: str
    picture: np.ndarray


def draw_storyboard(
    path: str | Path,
    title: str,
    rows: Sequence[StoryboardRow],
    credit: str = "",
    prompt: GlobalPrompt | None = None,
    columns: int = 6,
    cast: Sequence[CastImage] = (),
) -> None:
    """Draws the page and writes it as PNG, complete or not at all.

    Args:
      path: the name of the file; its folder is made.
      title: the headline of the page.
      rows: the shots, in order.
      credit: the last line of the page, also kept as the PNG's comment.
      prompt: is drawn beneath the title, part by part.
      columns: the number of frames of a 16:9 row, evenly spaced from first to last. Other aspect ratios get the number
        that fills the same width at about the same height.
      cast: given pictures of characters and places, drawn small above the shots.

    Raises:
      InputError: the file cannot be written.
      ValueError: there are no rows, or one has no frames.
    """
    if not rows or any(len(row.frames) == 0 for row in rows):
        raise ValueError("a storyboard needs at least one row, and every row a frame")
    blocks = [_draw_header(title, prompt), *_draw_cast(cast), _draw_rule()]
    blocks += [_draw_row(i, row, columns) for i, row in enumerate(rows, start=1)]
    if credit:
        blocks.append(_draw_credit(credit))
    page = Image.new("RGB", (_PAGE, sum(block.height for block in blocks)), _BACKGROUND)
    top = 0
    for block in blocks:
        page.paste(block, (0, top))
        top += block.height
    comment = PngImagePlugin.PngInfo()
    comment.add_itxt("Comment", credit)
    with replace_atomically(Path(path)) as unfinished:
        page.save(unfinished, format="PNG", pnginfo=comment)


def describe_numbers(numbers: Sequence[int]) -> str:
    """Returns numbers in order, runs of three and more as "2-5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    shown = [
        f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    ]
    return ", ".join(shown)


def pick_evenly(count: int, wanted: int) -> list[int]:
    """Returns the numbers of at most `wanted` of `count` frames, evenly spaced, with the first and the last."""
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()


def _draw_header(title: str, prompt: GlobalPrompt | None) -> Image.Image:
    parts: list[tuple[str, str]] = []
    if prompt is not None:
        parts += [(f"Character {name}", text) for name, text in prompt.characters.items()]
        parts += [("Environment", prompt.environment), ("Story", prompt.story)]
    titles = wrap(title, 76, _PAGE - 2 * _MARGIN)
    texts = [(name, wrap(text, 30, _MEASURE)) for name, text in parts if text]
    height = _MARGIN + 92 * len(titles) + sum(44 * len(lines) + 10 for _, lines in texts)
    block, draw = _blank(height + 28)
    top = _write(draw, titles, (_MARGIN, _MARGIN), 76, 92, _BRIGHT) + 28
    for name, lines in texts:
        draw_line(draw, (_MARGIN, top), name, 30, _AMBER)
        top = _write(draw, lines, (_MARGIN + _GUTTER, top), 30, 44, _PLAIN) + 10
    return block


def _draw_rule() -> Image.Image:
    block, draw = _blank(84)
    draw.line((_MARGIN, 22, _PAGE - _MARGIN, 22), _RULE, 2)
    return block


def _draw_cast(cast: Sequence[CastImage]) -> list[Image.Image]:
    """Returns rows of pictures, as many in each as fit beside each other, with their names beneath."""
    cells = [_draw_cell(member) for member in cast]
    rows: list[list[Image.Image]] = []
    for cell in cells:
        if rows and sum(each.width + _CAST_GAP for each in rows[-1]) + cell.width <= _STRIP:
            rows[-1].append(cell)
        else:
            rows.append([cell])
    blocks = []
    for number, row in enumerate(rows):
        block, draw = _blank(max(cell.height for cell in row) + 28)
        if number == 0:
            draw_line(draw, (_MARGIN, 8), "Pictures", 30, _AMBER)
        left = _MARGIN + _GUTTER
        for cell in row:
            block.paste(cell, (left, 14))
            left += cell.width + _CAST_GAP
        blocks.append(block)
    return blocks


def _draw_cell(member: CastImage) -> Image.Image:
    height, width = member.picture.shape[:2]
    scale = min(_CAST_HIGH / height, _CAST_WIDEST / width)
    height, width = (max(1, round(scale * side)) for side in (height, width))
    room = max(width, _NAME)
    lines = wrap(member.name, 24, room)
    cell = Image.new("RGB", (room, _CAST_HIGH + 10 + 34 * len(lines)), _BACKGROUND)
    picture = Image.fromarray(resize(member.picture, height, width))
    # Low pictures stand on the line of the others.
    cell.paste(picture, (0, _CAST_HIGH - height), _rounded(width, height))
    _write(ImageDraw.Draw(cell), lines, (0, _CAST_HIGH + 10), 24, 34, _TEAL)
    return cell


def _draw_row(number: int, row: StoryboardRow, columns: int) -> Image.Image:
    strip = _draw_strip(row.frames, columns)
    lines = wrap(row.prompt, 32, _MEASURE)
    count = len(row.frames)
    length = "still image" if count == 1 else f"{count} frames, {count / row.fps:.1f} s"
    notes = wrap(length, 24, _GUTTER - 24) + ([] if row.cut else ["no cut"])
    notes += [] if row.shown else ["not in the film"]
    if row.saw:
        notes += wrap(f"saw {describe_numbers(row.saw)}", 24, _GUTTER - 24)
    beside = 130 + 34 * max(len(notes), 2)
    block, draw = _blank(max(strip.height + 22 + 46 * len(lines), beside) + _ROW_SPACE)
    block.paste(strip, (_MARGIN + _GUTTER, 0))
    _write(draw, lines, (_MARGIN + _GUTTER, strip.height + 22), 32, 46, _BRIGHT)
    # The digits' ink starts below the top of their line; this brings it level with the frames.
    draw_line(draw, (_MARGIN - 3, -18), str(number), 84, _BRIGHT)
    draw_line(draw, (_MARGIN, 92), row.label, 28, _color(row.label))
    _write(draw, notes, (_MARGIN, 130), 24, 34, _MUTED)
    return block


def _draw_strip(frames: np.ndarray, columns: int) -> Image.Image:
    aspect = frames.shape[2] / frames.shape[1]
    usual = (_STRIP - (columns - 1) * _GAP) / columns * 9 / 16
    fitting = max(1, round((_STRIP + _GAP) / (usual * aspect + _GAP)))
    width = (_STRIP - (fitting - 1) * _GAP) // fitting
    height = max(1, round(width / aspect))
    strip = Image.new("RGB", (_STRIP, height), _BACKGROUND)
    mask = _rounded(width, height)
    for i, number in enumerate(pick_evenly(len(frames), fitting)):
        picture = Image.fromarray(resize(frames[number], height, width))
        left = round(i * (_STRIP + _GAP) / fitting)  # the last one ends at the margin
        strip.paste(picture, (left, 0), mask)
    return strip


def _draw_credit(credit: str) -> Image.Image:
    lines = wrap(credit, 24, _PAGE - 2 * _MARGIN)
    block, draw = _blank(34 * len(lines) + 32 + 60)
    draw.line((_MARGIN, 0, _PAGE - _MARGIN, 0), _RULE, 2)
    _write(draw, lines, (_MARGIN, 32), 24, 34, _MUTED)
    return block


def _blank(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    block = Image.new("RGB", (_PAGE, height), _BACKGROUND)
    return block, ImageDraw.Draw(block)


def _write(
    draw: ImageDraw.ImageDraw,
    lines: list[str],
    at: tuple[int, int],
    size: int,
    leading: int,
    color: str,
) -> int:
    left, top = at
    for line in lines:
        draw_line(draw, (left, top), line, size, color)
        top += leading
    return top


def _color(label: str) -> str:
    return _TEAL if label == "given" else _AMBER


def _rounded(width: int, height: int) -> Image.Image:
    # The shape is drawn four times as large and reduced, because Pillow's own corners have no antialiasing.
    mask = Image.new("L", (4 * width, 4 * height))
    box = (0, 0, 4 * width - 1, 4 * height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, 4 * _CORNER, 255)
    return mask.resize((width, height), Image.Resampling.BOX)
