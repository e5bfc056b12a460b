"""Makes sections of settings: frozen dataclasses whose fields are checked by their types, with errors of one line.

pydantic does the checking. A section is declared with `@settings("data")`; its fields have types such as `Positive` or
`Share`; a rule over several fields is a `__post_init__` that raises `InputError`. `build` makes a section, or
a section of sections, from plain nested values: those of an edited ConfigDict, or of the JSON in a checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import Field

from lct_jax.errors import InputError
from lct_jax.paths import is_path, local_path

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

Section = TypeVar("Section")

_STRICT = pydantic.ConfigDict(strict=True, extra="forbid")


def settings(name: str) -> Callable[[type[Section]], type[Section]]:
    """Makes a class a frozen dataclass whose values are checked; `name` is the section's, for errors.

    A value that does not fit raises `InputError`: "data.rows: found 0, expected more than 0".
    """

    def decorate(cls: type[Section]) -> type[Section]:
        made = pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)(cls)
        check = made.__init__

        @functools.wraps(check)
        def __init__(self: Any, *args: Any, **values: Any) -> None:
            try:
                check(self, *args, **values)
            except pydantic.ValidationError as error:
                raise InputError(explain(error, name, made)) from None

        made.__init__ = __init__
        return made

    return decorate


def build(kind: Any, values: Any, *, path: str) -> Any:
    """Returns a section of nested plain values, with lists as tuples.

    Args:
        kind: the section's class, or a union of classes distinguished by the value of their field `family`.
        values: the values by field. path: the section's name, for errors.

    Raises:
        InputError: a field that does not exist, is missing, or has a value that does not fit.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: found {values!r}, expected a section of fields")
    kind = _choose(kind, values, path=path)
    hints = typing.get_type_hints(kind, include_extras=True)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(
            f"{path}.{unknown[0]}: no such field; there are {', '.join(sorted(hints))}"
        )
    for field in dataclasses.fields(kind):
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in values:
            raise InputError(f"{path}.{field.name}: missing, expected a string")
    return kind(
        **{name: _read(hints[name], value, f"{path}.{name}") for name, value in values.items()}
    )


def explain(error: pydantic.ValidationError, section: str, kind: type) -> str:
    """Returns the first complaint of pydantic as "section.field: found ..., expected ..."."""
    first = error.errors()[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, InputError):
        return str(raised)
    names = [part for part in first["loc"] if isinstance(part, str)]
    where = ".".join([section, *names])
    complaint = first["type"]
    if complaint == "unexpected_keyword_argument":
        raise TypeError(f"{where}: no such field")
    hint = typing.get_type_hints(kind).get(names[0]) if names else None
    if typing.get_origin(hint) is tuple and complaint in _OF_TUPLES:
        expected = _expect_tuple(typing.get_args(hint))
    else:
        expected = _expect(complaint, first.get("ctx", {}))
    return f"{where}: found {first['input']!r}, expected {expected}"


def _expect(complaint: str, limits: Mapping[str, Any]) -> str:
    if complaint == "literal_error":
        return f"one of {limits['expected'].replace(' or ', ', ')}"
    if complaint in _EXPECTED:
        return _EXPECTED[complaint].format(**limits)
    return complaint.replace("_", " ")


def _expect_tuple(kinds: tuple[Any, ...]) -> str:
    """Returns how many values of which type a tuple holds: "3 of int", or "at least one of float"."""
    count = "at least one" if kinds[-1] is ... else str(len(kinds))
    return f"{count} of {kinds[0].__name__}"


_OF_TUPLES = ("missing", "tuple_type", "too_short", "too_long")


_EXPECTED = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "int_type": "int",
    "float_type": "float",
    "string_type": "text",
    "bool_type": "true or false",
}


def _is_section(hint: Any) -> bool:
    kinds = typing.get_args(hint) or (hint,)
    return all(dataclasses.is_dataclass(kind) for kind in kinds)


def _choose(kind: Any, values: Mapping[str, Any], *, path: str) -> Any:
    """Returns the class of a union that the field `family` names; the first one if it is missing."""
    kinds = typing.get_args(kind) or (kind,)
    if "family" not in kinds[0].__dataclass_fields__:
        return kind
    families = {typing.get_args(typing.get_type_hints(k)["family"])[0]: k for k in kinds}
    family = values.get("family", next(iter(families)))
    if family not in families:
        there = ", ".join(map(repr, families))
        raise InputError(f"{path}.family: found {family!r}, expected one of {there}")
    return families[family]


def _read(hint: Any, value: Any, path: str) -> Any:
    if _is_section(hint):
        return build(hint, value, path=path)
    if is_path(hint) and isinstance(value, str):
        return local_path(value, path.removeprefix("config."))
    if isinstance(value, list | tuple):
        parts = typing.get_args(hint)
        return tuple(_read(parts[0] if parts else Any, part, path) for part in value)
    return value
