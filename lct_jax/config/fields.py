"""Frozen dataclasses as settings: built from plain values, and checked by the types of their fields.

Nested dictionaries enter (of an edited ConfigDict, or of the JSON a checkpoint carries) and a dataclass leaves. A
number is positive, a choice among the choices, a text a text; an exception is named where a dataclass is checked.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal

from lct_jax.errors import InputError


def build(kind: type, values: dict[str, Any], *, path: str) -> Any:
    """A dataclass of nested values, lists as tuples; raises InputError that names the field under `path`."""
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {values!r}, expected a section of fields")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(
            f"{path}.{unknown[0]}: no such field; there are {', '.join(sorted(hints))}"
        )
    if "name" in hints and "name" not in values:
        raise InputError(f"{path}.name: missing, expected a string")
    parts = {
        name: build(hints[name], value, path=f"{path}.{name}")
        if dataclasses.is_dataclass(hints[name])
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
    return kind(**parts)


def check_values(
    section: str,
    config: Any,
    *,
    may_be_zero: tuple[str, ...] = (),
    signed: tuple[str, ...] = (),
) -> None:
    """Numbers are positive (or as the exceptions say), choices are among the choices, texts are text."""
    hints = typing.get_type_hints(type(config))
    for name, hint in hints.items():
        value = getattr(config, name)
        where = f"{section}.{name}"
        if typing.get_origin(hint) is Literal:
            if value not in typing.get_args(hint):
                choices = ", ".join(map(repr, typing.get_args(hint)))
                raise InputError(f"{where}: found {value!r}, expected one of {choices}")
        elif hint in (int, float):
            low = -float("inf") if name in signed else 0
            _check_number(where, value, hint, low=low, zero=name in (*may_be_zero, *signed))
        elif hint is str and not isinstance(value, str):
            raise InputError(f"{where}: found {value!r}, expected text")
        elif typing.get_origin(hint) is tuple:
            _check_tuple(where, value, typing.get_args(hint))


def _check_tuple(where: str, value: Any, kinds: tuple[Any, ...]) -> None:
    """Kinds are those of each part, or one kind and an ellipsis."""
    kind, count = kinds[0], None if kinds[-1] is ... else len(kinds)
    if not isinstance(value, tuple) or not value or (count is not None and len(value) != count):
        wanted = "at least one" if count is None else str(count)
        raise InputError(f"{where}: found {value!r}, expected {wanted} of {kind.__name__}")
    for part in value:
        _check_number(where, part, kind, low=0, zero=False)


def _check_number(where: str, value: Any, hint: type, *, low: float, zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, hint)):
        raise InputError(f"{where}: found {value!r}, expected {hint.__name__}")
    if not low <= value < float("inf") or (value == 0 and not zero):  # so that nan is refused
        wanted = "0 or more" if zero else "more than 0"
        raise InputError(f"{where}: found {value}, expected {wanted}")


def check_range(where: str, value: float, *, low: float, high: float) -> None:
    """Raises InputError, naming `where`, unless low <= value <= high."""
    if not low <= value <= high:
        raise InputError(f"{where}: found {value}, expected {low} to {high}")
