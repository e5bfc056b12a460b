"""JSON as people write it by hand: read to its values, with the line of every value, and no key twice in one object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lct_jax.errors import InputError, one_line

_SPACE = re.compile(r"[ \t\r\n]*")


def parse_json(text: str) -> Any:
    """Returns the value of a JSON document; raises InputError, with the line, where it is none."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"not JSON at {place}: {error.msg}") from None
    except InputError as error:
        several = "\n" in text.strip()
        raise InputError(f"line {_find_twice(text)}: {error}" if several else str(error)) from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of lists in one another.
        raise InputError(f"not JSON that can be read: {one_line(error)}") from None


def find_json_line(text: str, path: tuple[str | int, ...]) -> int:
    """Returns the line, counted from 1, in which the value at `path` begins in a JSON document.

    Where the path leads nowhere, it is the line of the last value on the way.
    """
    place = _skip(text, 0)
    for step in path:
        members = _find_members(text, place)
        place = next((at for name, at in members if name == step), place)
    return text.count("\n", 0, place) + 1


def _find_members(text: str, place: int) -> Iterator[tuple[str | int, int]]:
    """Yields the key or the number of every member of the object or list at `place`, and where its value begins."""
    decoder = json.JSONDecoder()
    named = text[place] == "{"
    end = "}" if named else "]"
    number, place = 0, _skip(text, place + 1)
    while text[place] != end:
        name: str | int = number
        if named:
            name, place = decoder.raw_decode(text, place)
            place = _skip(text, _skip(text, place) + len(":"))
        yield name, place
        place = _skip(text, decoder.raw_decode(text, place)[1])
        if text[place] == ",":
            place = _skip(text, place + 1)
        number += 1


def _skip(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()


def _find_twice(text: str) -> int:
    """Returns the line of the first value, counted from 1, whose key stands twice in one object of a JSON document."""
    inner, first = [_skip(text, 0)], len(text)
    while inner:
        names: set[str | int] = set()
        for name, place in _find_members(text, inner.pop()):
            if name in names:
                first = min(first, place)
            names.add(name)
            if text[place] in "{[":
                inner.append(place)
    return text.count("\n", 0, first) + 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # JSON itself keeps the last of two equal keys, and a character would be gone without a word.
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"key {twice!r} is written twice in one object")
    return members
