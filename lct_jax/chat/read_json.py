"""Finds JSON in what a language model writes: alone, after its reasoning, in a fence, or between sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from lct_jax.errors import InputError

# A template may begin the reasoning in the prompt, so that the answer holds the closing tag alone.
_REASONED = re.compile(
    r"^.*</(?:think|thinking|thought|reasoning|reason)>", re.DOTALL | re.IGNORECASE
)
_TOO_DEEP = "thousands of lists or objects lie in one another"
_FENCE = re.compile(
    r"(`{3,}|~{3,})[ \t]*(?:jsonc?|json5|javascript|js)?[ \t]*\n?(.*?)\1", re.DOTALL | re.IGNORECASE
)


def parse_json(text: str) -> Any:
    """Returns the JSON value of an answer.

    The whole text is tried first, then the text after the reasoning, then the contents of fences from the last
    to the first, and at last the longest object that stands between other words. Line breaks inside of JSON texts are
    read as they are. An object that is written as a text, or that is alone in a list, is returned itself.

    Raises:
        InputError: there is no JSON, it is cut off, or a key is written twice in one object.
    """
    first: ValueError | None = None
    for body in _find_bodies(text):
        try:
            return _unwrap(load_strictly(body))
        except InputError:
            raise
        except ValueError as error:
            first = first or error
    found = _find_objects(drop_reasoning(text))
    if found is None:
        raise InputError(f"it is not JSON ({first})")
    return found


def load_json(text: str, unique: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Returns the value of a JSON document in which texts may have line breaks.

    Args:
        unique: makes an object of its pairs; None makes a dict.

    Raises:
        ValueError: the text is no JSON, or is nested deeper than Python can follow.
    """
    try:
        return json.loads(text, object_pairs_hook=unique, strict=False)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def load_strictly(text: str) -> Any:
    """Returns the value of a JSON document; raises ValueError where the text is none.

    Raises:
        InputError: a key is written twice in one object, or a text holds half of a surrogate pair: no text encoder
            could take it.
    """
    return _check_text(load_json(text, _unique))


def drop_reasoning(text: str) -> str:
    """Returns an answer without the reasoning before it."""
    return _REASONED.sub("", text).strip()


def _find_bodies(text: str) -> Iterator[str]:
    yield text
    rest = drop_reasoning(text)
    yield rest
    for fence in reversed(list(_FENCE.finditer(rest))):
        yield fence[2]


def _find_objects(text: str) -> Any:
    """Returns the longest JSON object in a text, and the last one of several; None if there is none or one is cut
    off."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique, strict=False)
    best, longest, place = None, 0, text.find("{")
    while place >= 0:
        end = place + 1
        try:
            value, end = decoder.raw_decode(text, place)
        except InputError:
            raise
        except RecursionError:
            return None
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                # An inner object of one that is cut off is not the answer.
                return None
            # Nor is an inner object of one that breaks off at a mistake, such as a comma too many.
            end = max(end, error.pos)
        except ValueError:
            # Python refuses a number of thousands of digits.
            return None
        else:
            if end - place >= longest:
                best, longest = value, end - place
        place = text.find("{", end)
    return None if best is None else _check_text(best)


def _unwrap(value: Any) -> Any:
    """Returns the object that a list alone holds, or that a text is."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return value[0]
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            return load_strictly(value)
        except InputError:
            raise
        except ValueError:
            return value
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # JSON itself would keep the last value and lose the first.
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"key {max(names, key=names.count)!r} is written twice in one object")
    return members


def _check_text(value: Any) -> Any:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        where = error.object[max(error.start - 20, 0) : error.start]
        raise InputError(
            f"half of a surrogate pair stands behind {where!r}, expected Unicode"
        ) from None
    return value
