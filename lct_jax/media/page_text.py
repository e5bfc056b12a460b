"""Draws text on a page in many scripts: chooses fonts, directions and line breaks.

Pillow's built-in font has no more than ASCII. DejaVu Sans has Latin with all its accents, Greek, Cyrillic, Arabic,
Hebrew and others; Droid Sans Fallback has Chinese, Japanese and Korean; parts of Noto have Devanagari, Thai and emoji.
All ship with this package, so that a page looks alike on every machine. Letters are joined (Arabic) and put into the
order in which they are seen (Arabic and Hebrew) before they are drawn, because Pillow does this only where the system
has FriBidi. Devanagari and Thai need that library: without it their vowels and marks stand beside their places. Of a
script that no font has, letters show as boxes. A line in the log tells of either.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path

from absl import logging
from arabic_reshaper import ArabicReshaper
from bidi.algorithm import get_base_level, get_display
from PIL import ImageDraw, ImageFont, features

_FONTS = Path(__file__).with_name("fonts")
# Letters of these fonts change their forms and places with their neighbours.
_SHAPED = ("NotoSansDevanagari.woff", "NotoSansThai.woff")
# The built-in font comes first, because most pages are in English.
_FACES = ("", "DejaVuSans.ttf", "DroidSansFallback.ttf", *_SHAPED, "NotoEmoji.woff")
# Pillow's own font lacks these signs, and they need no other font.
_REPLACED = str.maketrans({"–": "-", "—": "-", "−": "-", "×": "x", "→": ">", "•": "·"})
# Emoji for which Noto has no sign of its own: the letters that make flags, coloured discs and squares.
_REPLACED |= {0x1F1E6 + n: chr(ord("A") + n) for n in range(26)}
_REPLACED |= dict.fromkeys(range(0x1F7E0, 0x1F7E5), "●") | dict.fromkeys(
    range(0x1F7E5, 0x1F7EC), "■"
)
_ABSENT = "\uffff"  # is no character, so every font draws its sign for a missing one
# Lam with alef is the one ligature that DejaVu Sans has.
_JOINED = ArabicReshaper({"delete_harakat": False, "ARABIC LIGATURE ALLAH": False})
_RIGHT_TO_LEFT = "\u200f"
# These invisible characters say how letters join and which way they go.
_JOINERS, _DIRECTIONS = "\u200c\u200d", "\u200e\u200f"
_NO_JOINERS, _NO_DIRECTIONS = (dict.fromkeys(map(ord, signs)) for signs in (_JOINERS, _DIRECTIONS))
# Emoji are drawn in one colour, so those that choose a style or a tone of skin have nothing to say.
_STYLES = "\ufe0e\ufe0f" + "".join(map(chr, range(0x1F3FB, 0x1F400)))
# A letter of Devanagari joins the one before this sign. Thai vowels stand before their consonants, one behind.
_VIRAMA, _THAI_BEFORE, _THAI_BEHIND = "\u094d", "เแโใไ", "ำ"
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
    for cluster in _clusters(word):
        if lines[-1] and measure(lines[-1] + cluster, size) > width:
            lines.append("")
        lines[-1] += cluster


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


def _clusters(word: str) -> list[str]:
    """Returns the parts of a word that are not taken apart: a letter with its marks, or a syllable of Devanagari."""
    parts: list[str] = []
    for letter in word:
        marks = unicodedata.category(letter)[0] == "M" or letter in _JOINERS + _THAI_BEHIND
        if parts and (marks or parts[-1][-1] in _VIRAMA + _JOINERS + _THAI_BEFORE):
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


def _runs(text: str) -> list[tuple[str, str]]:
    """Returns the fonts and parts of a line, from left to right as they are displayed."""
    shown = _order(_JOINED.reshape(text))
    faces = _choose_faces(shown)
    pairs = groupby(zip(faces, shown, strict=True), key=lambda pair: pair[0])
    runs = [(face, "".join(letter for _, letter in part)) for face, part in pairs]
    if any(face in _SHAPED for face, _ in runs):
        _check_shaping()
    # Joiners have done their work on Arabic; only Devanagari is joined later.
    return [(face, part if face in _SHAPED else part.translate(_NO_JOINERS)) for face, part in runs]


def _order(text: str) -> str:
    """Returns the letters of a line from left to right as they are displayed."""
    if not any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text):
        return text
    # The algorithm fails on letters that this Python does not know, such as new emoji; private ones stand for them.
    unknown = {ord(c) for c in text if not unicodedata.bidirectional(c)}
    stand_ins = dict(zip(unknown, range(0xF0000, 0xFFFFD), strict=False))
    shown = get_display(text.translate(stand_ins))
    return shown.translate({b: a for a, b in stand_ins.items()} | _NO_DIRECTIONS)


def _choose_faces(shown: str) -> list[str]:
    """Returns the font of each letter; joiners have that of the letter before."""
    # A font for the whole line is preferred to one for each word, which would look inconsistent.
    letters = shown.translate(_NO_JOINERS)
    whole = next((face for face in _FACES if all(_has(face, letter) for letter in letters)), None)
    faces = [whole or ""]
    for letter in shown:
        same = whole is not None or letter in _JOINERS
        faces.append(faces[-1] if same else _face(letter))
    return faces[1:]


@cache
def _face(letter: str) -> str:
    face = next((face for face in _FACES if _has(face, letter)), None)
    if face is None:
        _tell_missing(unicodedata.name(letter, f"U+{ord(letter):04X}").split()[0].capitalize())
    return _FACES[1] if face is None else face


@cache
def _tell_missing(script: str) -> None:
    """Says once of a script that no font has it."""
    logging.warning("pages show boxes for %s: no font of this package has its letters", script)


@cache
def _check_shaping() -> None:
    """Says once where Devanagari and Thai cannot be shaped."""
    if not features.check("raqm"):
        logging.warning(
            "vowels and marks of Devanagari and Thai stand beside their places: Pillow finds no FriBidi"
            " (on Debian the package libfribidi0)"
        )


@cache
def _has(face: str, letter: str) -> bool:
    # Shaping would put a circle beneath a mark that the font has not.
    font = _font(face, 20, shaped=False)
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask(_ABSENT))


@cache
def _font(face: str, size: int, *, shaped: bool = True) -> ImageFont.FreeTypeFont:
    if not face:
        return ImageFont.load_default(size=size)
    shapes = shaped and face in _SHAPED and features.check("raqm")
    layout = ImageFont.Layout.RAQM if shapes else ImageFont.Layout.BASIC
    return ImageFont.truetype(_FONTS / face, size, layout_engine=layout)


def _printable(text: str) -> str:
    """Returns a text in which letters are composed with their accents, without signs that have no width."""
    composed = unicodedata.normalize("NFC", text.translate(_REPLACED))
    kept = _JOINERS + _DIRECTIONS
    # Emoji of a later Unicode than Python's have no category.
    seen = lambda c: c.isspace() or c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
    return "".join(c for c in composed if seen(c) and c not in _STYLES)
