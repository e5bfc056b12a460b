"""Draws text on a page in many scripts: chooses fonts, directions and line breaks.

Pillow's built-in font has no more than ASCII. DejaVu Sans has Latin with all its accents, Greek, Cyrillic, Arabic and
Hebrew; Droid Sans Fallback has Chinese, Japanese and Korean. Both ship with this package, so that a page looks alike on
every machine. Letters are joined (Arabic) and put into the order in which they are seen (Arabic and Hebrew) before they
are drawn, because Pillow does this only where the system has the libraries for it. Scripts that neither font has, such
as Devanagari or Thai, show as boxes.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path

from arabic_reshaper import ArabicReshaper
from bidi.algorithm import get_base_level, get_display
from PIL import ImageDraw, ImageFont

_FONTS = Path(__file__).with_name("fonts")
# The built-in font comes first, because most pages are in English.
_FACES = ("", "DejaVuSans.ttf", "DroidSansFallback.ttf")
# Pillow's own font lacks these signs, and they need no other font.
_REPLACED = str.maketrans({"–": "-", "—": "-", "−": "-", "×": "x", "→": ">", "•": "·"})
_ABSENT = "\uffff"  # is no character, so every font draws its sign for a missing one
# Lam with alef is the one ligature that DejaVu Sans has.
_JOINED = ArabicReshaper({"delete_harakat": False, "ARABIC LIGATURE ALLAH": False})
_RIGHT_TO_LEFT = "\u200f"
# These invisible characters say how letters join and which way they go.
_MARKS = "\u200c\u200d\u200e\u200f"
# Chinese and Japanese are written without spaces: a line may end after any of their signs.
_WIDE = ("W", "F")


def wrap(text: str, size: int, width: int) -> list[str]:
    """Returns the lines of `text`, in the order of reading, at most `width` pixels wide in the font of `size`.

    Words that are too long are broken, and Chinese and Japanese break at any sign that no closing mark follows.
    """
    text = _printable(text)
    # Each line has the direction of the whole text, also where it begins with a word of the other direction.
    mark = _RIGHT_TO_LEFT if get_base_level(text) else ""
    lines = [""]
    for word in text.split():
        gap = " " if lines[-1] else ""
        for piece in _split(word):
            if measure(lines[-1] + gap + piece, size) <= width:
                lines[-1] += gap + piece
            else:
                _break(lines, piece, size, width)
            gap = ""
    return [mark + line for line in lines]


def measure(text: str, size: int) -> float:
    """Returns the width of a line in pixels."""
    return sum(_font(face, size).getlength(part) for face, part in _runs(text))


def draw_line(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, color: str
) -> None:
    """Draws one line with its upper left corner at a point of the picture."""
    left, top = at
    # Fonts differ in where their lines begin; letters stand on the base line of the built-in font.
    base = top + _font("", size).getmetrics()[0]
    for face, part in _runs(_printable(text)):
        font = _font(face, size)
        draw.text((left, base), part, color, font, anchor="ls")
        left += font.getlength(part)


def _break(lines: list[str], word: str, size: int, width: int) -> None:
    """Puts a word on lines of its own, and breaks it where it is wider than a line."""
    if lines[-1]:
        lines.append("")
    for letter in word:
        if lines[-1] and measure(lines[-1] + letter, size) > width:
            lines.append("")
        lines[-1] += letter


def _split(word: str) -> list[str]:
    """Returns the parts of a word between which a line may end."""
    pieces = [""]
    for letter in word:
        wide = unicodedata.east_asian_width(letter) in _WIDE
        opens = wide and unicodedata.category(letter) not in ("Pe", "Po", "Lm")
        if pieces[-1] and opens and unicodedata.category(pieces[-1][-1]) != "Ps":
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _runs(text: str) -> list[tuple[str, str]]:
    """Returns the fonts and parts of a line, from left to right as they are displayed."""
    shown = get_display(_JOINED.reshape(text)).translate(dict.fromkeys(map(ord, _MARKS)))
    # A font for the whole line is preferred to one for each word, which would look inconsistent.
    whole = next((face for face in _FACES if all(_has(face, letter) for letter in shown)), None)
    if whole is not None:
        return [(whole, shown)]
    return [(face, "".join(part)) for face, part in groupby(shown, key=_face)]


@cache
def _face(letter: str) -> str:
    return next((face for face in _FACES if _has(face, letter)), _FACES[1])


@cache
def _has(face: str, letter: str) -> bool:
    font = _font(face, 20)
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask(_ABSENT))


@cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    if not face:
        return ImageFont.load_default(size=size)
    return ImageFont.truetype(_FONTS / face, size, layout_engine=ImageFont.Layout.BASIC)


def _printable(text: str) -> str:
    """Returns a text in which letters are composed with their accents, without signs that have no width."""
    composed = unicodedata.normalize("NFC", text.translate(_REPLACED))
    seen = lambda c: c.isspace() or c in _MARKS or unicodedata.category(c)[0] != "C"
    return "".join(filter(seen, composed))
