"""Reads a script that a language model wrote as prose under lettered headings, as models do that write no JSON.

The layout is the one in which the LCT paper has its scripts written (supplement, Table 1): a global part with the
characters, the environment and the storyline, and a part with a numbered text for each shot. Headings are found by
their words, with or without letters, numbers and Markdown, so that these all begin the same section:

    A.2 Environment       **A.2 Environment:** A bookshop.       ### II. Environment       [Environment] A bookshop.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from lct_jax.errors import InputError

# Emphasis and headings of Markdown anywhere, and the marks of quotes and lists at the start.
_MARKS = re.compile(r"[*`#]+|__|^[\s>•-]+")
# A letter, a number or both: "A.", "A.1", "B)", "2.", "(a)", "IV.".
_LETTER = r"(?:\(?(?:[A-Z]|[A-Z]?\.?\d+(?:\.\d+)*|[IVX]+)[.):]*\s+)?"
# What stands between a name and its text.
_COLON = r"\s*(?:\([^)]*\)\s*)?[:.：–—-]\s*"
_HEADINGS = {
    "characters": r"characters?(?:\s+descriptions?)?",
    "environment": r"(?:environment|setting)(?:\s+description)?",
    "story": r"(?:story ?line|story|plot)(?:\s+overview)?",
    "": r"(?:global|per[- ]shot|shot)\s+(?:descriptions?|prompts?|list)|shots",
}
_HEADING = {
    name: re.compile(
        rf"{_LETTER}(?:\[(?:{words})\]:?(?:\s+(.*))?|(?:{words})\s*(?::\s*(.*))?)", re.IGNORECASE
    )
    for name, words in _HEADINGS.items()
}
_CHARACTER = re.compile(rf"{_LETTER}\[?character\s+\[?(\w+)\]?{_COLON}(.*)", re.IGNORECASE)
_SHOT = re.compile(
    rf"{_LETTER}(?:\[shot\s+(\d+)\](?:[:.]?\s+|$)|shot\s+\[?(\d+)\]?(?:{_COLON}|$))(.*)",
    re.IGNORECASE,
)


def read_prose(text: str) -> dict[str, Any]:
    """Returns the script in a text as the object that a model is asked for: characters, environment, story, shots.

    A shot may have a title and paragraphs. What a model adds at the end is no part of the last shot, which has as many
    paragraphs as the one before it. A section without a heading is not in the object.

    Raises:
        InputError: the text has no numbered shots, or they are not numbered 1, 2, ...
    """
    characters: dict[str, list[str]] = {}
    sections: dict[str, list[str]] = {}
    shots: list[list[str]] = []
    # What is said before the first heading, and between headings that have no text, is nowhere.
    place: list[str] = []
    for line in text.splitlines():
        line = _strip_marks(line)
        if shot := _SHOT.fullmatch(line):
            number = int(shot[1] or shot[2])
            if number != len(shots) + 1:
                raise InputError(f"found Shot {number}, expected Shot {len(shots) + 1}")
            place = [shot[3]]
            shots.append(place)
        elif not shots and (character := _CHARACTER.fullmatch(line)):
            place = characters.setdefault(character[1], [])
            place.append(character[2])
        elif (heading := _find_heading(line)) is not None:
            name, rest = heading
            place = sections.setdefault(name, []) if name in ("environment", "story") else []
            place.append(rest)
        else:
            place.append(line)
    if not shots:
        raise InputError("found no JSON object, and no lines that begin with Shot 1, Shot 2, ...")
    return {
        "characters": {name: _join(lines) for name, lines in characters.items()},
        **{name: _join(lines) for name, lines in sections.items()},
        "shots": _end_last([_divide(lines) for lines in shots]),
    }


def _divide(lines: list[str]) -> list[str]:
    """Returns the paragraphs in lines, which empty lines divide."""
    parts = itertools.groupby(lines, key=bool)
    return [_join(list(part)) for filled, part in parts if filled]


def _end_last(shots: list[list[str]]) -> list[str]:
    """Returns the texts of shots from their paragraphs, the last one without what was added behind it."""
    usual = len(shots[-2]) if shots[1:] else 1
    # A title is a sentence of its own.
    end = lambda part: part if part[-1] in ".!?:;," else f"{part}."
    ended = [[*map(end, parts[:-1]), *parts[-1:]] for parts in (*shots[:-1], shots[-1][:usual])]
    return [" ".join(parts) for parts in ended]


def _find_heading(line: str) -> tuple[str, str] | None:
    """Returns the section that a line begins, "" for one without a text, and what stands behind the heading."""
    for name, pattern in _HEADING.items():
        if found := pattern.fullmatch(line):
            return name, found[1] or found[2] or ""
    return None


def _strip_marks(line: str) -> str:
    """Returns a line without the marks of Markdown."""
    return _MARKS.sub("", _MARKS.sub("", line).strip())


def _join(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
