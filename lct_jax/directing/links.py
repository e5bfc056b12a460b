"""Links between the shots of a script: which shots, characters and places a shot should agree with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Annotated

from pydantic import Discriminator, Tag

from lct_jax.directing.field_reader import Source
from lct_jax.directing.prompts import ShotPrompt
from lct_jax.errors import InputError


def _choose_kind(value: object) -> str | None:
    # A bool is an int in Python, but true is no number of a shot.
    return {int: "as a number", str: "as a name"}.get(type(value))


Reference = Annotated[
    Annotated[int, Tag("as a number")] | Annotated[str, Tag("as a name")],
    Discriminator(_choose_kind),
]


def check_refers(
    source: Source,
    shots: Sequence[ShotPrompt],
    *,
    characters: Collection[str],
    places: Collection[str] = (),
) -> None:
    """Raises InputError where a shot refers to what is not there when its turn comes.

    A shot may refer to shots before it, to given ones, to key shots unless it is one itself, to characters that are
    described, and to places that a shot has. Its history is of such shots, too.
    """
    names = {*characters, *places, *(shot.place for shot in shots if shot.place)}
    for own, shot in enumerate(shots, start=1):
        ready = functools.partial(_is_ready, shots, own)
        for i, item in enumerate(shot.refers):
            with source.at("shots", own - 1, "refers", i):
                _check_reference(item, names=names, ready=ready)
        for i, item in enumerate(shot.history or ()):
            with source.at("shots", own - 1, "history", i):
                _check_reference(item, names=names, ready=ready)
                if item in shot.history[:i]:
                    raise InputError(f"found {item} again, expected each shot once")


def _is_ready(shots: Sequence[ShotPrompt], own: int, number: int) -> bool:
    """Returns whether a shot is there when the turn of shot `own` comes; both are counted from 1."""
    if number == own or not 1 <= number <= len(shots):
        return False
    shot, other = shots[own - 1], shots[number - 1]
    return bool(other.given) or (number < own and other.key >= shot.key) or other.key > shot.key


def _check_reference(
    item: int | str, *, names: Collection[str], ready: Callable[[int], bool]
) -> None:
    if isinstance(item, str) and item not in names:
        raise InputError(f"found {item!r}, a character or place that no shot has")
    if isinstance(item, int) and not ready(item):
        raise InputError(
            f"found {item}, expected an earlier, a given or a key shot, counted from 1"
        )
