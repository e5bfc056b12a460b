"""Files that people write by hand, read by the types of their fields, with complaints of one line.

The fields of a kind of file are a class under `Fields`, which pydantic checks. The same class gives the JSON Schema in
docs/schemas/, by which editors complete the file. What the types cannot say, such as a shot that refers to a later one,
is checked by the reader of that kind of file inside of `Source.at`. Every complaint names the file, the line where the
file has several, the field, what was found and what was expected:

    station.json: line 9: shots[1].frames: found 20, expected 4n+1 frames: 17 or 21

Files are JSON, or YAML where their names end so; both are read to the same values.
"""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args

import pydantic

from lct_jax.directing.json_text import find_json_line, parse_json
from lct_jax.directing.yaml_text import find_yaml_line, parse_yaml
from lct_jax.errors import InputError

Step = str | int

YAML_SUFFIXES = (".yaml", ".yml")

_KINDS = {
    dict: "an object {...}",
    list: "a list [...]",
    type(None): "null",
}
_EXPECTED = {
    "model_type": "an object {...}",
    "dict_type": "an object {...}",
    "list_type": "a list [...]",
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "union_tag_not_found": "a whole number or text",
    "greater_than": "a number above",
    "less_than": "a number below",
    "greater_than_equal": "a number of at least",
    "less_than_equal": "a number of at most",
}
# By these names pydantic gives the limit of a complaint.
_LIMITS = ("gt", "lt", "ge", "le")


class UnknownKey(InputError):
    """A key of an object that is not a field; `key` is the key."""

    def __init__(self, key: str, hint: str) -> None:
        super().__init__(f"unknown key {key!r}, {hint}")
        self.key = key


class Fields(pydantic.BaseModel):
    """The base of every object in a file: its keys are the fields of the class, and no others are known.

    The line of text below a field becomes its description in the JSON Schema.
    """

    model_config = pydantic.ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            check_keys(cls, values)
        return values


class FileFields(Fields):
    """The base of the top level of a file. A class under it has a field `format`, which is the name of the format."""

    json_schema: Annotated[str, pydantic.Field(alias="$schema")] = ""
    """Path or address of the JSON Schema by which an editor checks this file. It is not read."""


Kind = TypeVar("Kind", bound=pydantic.BaseModel)
FileKind = TypeVar("FileKind", bound=FileFields)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """Where values come from, so that complaints about them can name it.

    Attributes:
      name: path of the file, or what stands for it, such as "answer".
      text: the document, in which the lines of fields are found; "" where no line is named.
      syntax: what the document is written in.
    """

    name: str
    text: str = ""
    syntax: Literal["json", "yaml"] = "json"

    @contextmanager
    def at(self, *path: Step) -> Iterator[None]:
        """Names the source and the field at `path` in every `InputError` that the block raises."""
        try:
            yield
        except InputError as error:
            self.refuse(path, str(error))

    def refuse(
        self, path: tuple[Step, ...], complaint: str, *, key: tuple[Step, ...] = ()
    ) -> NoReturn:
        """Raises the `InputError` about the field at `path`, with the line of it, or of a key in it."""
        several = "\n" in self.text.strip()
        find = find_json_line if self.syntax == "json" else find_yaml_line
        line = f"line {find(self.text, path + key)}: " if path + key and several else ""
        raise InputError(f"{self.name}: {line}{_write_path(path)}: {complaint}")

    def check(self, kind: type[Kind], value: object) -> Kind:
        """Returns a JSON value as the fields of `kind`; raises InputError where it does not fit."""
        try:
            return kind.model_validate(value)
        except pydantic.ValidationError as error:
            path, complaint = _explain(error, value)
            cause = error.errors()[0].get("ctx", {}).get("error")
        key = (cause.key,) if isinstance(cause, UnknownKey) else ()
        self.refuse(path, complaint, key=key)

    def parse(self, kind: type[FileKind]) -> FileKind:
        """Returns the document in `text` as the fields of `kind`.

        Raises:
          InputError: it is no JSON or YAML, has another format, or a field does not fit.
        """
        try:
            value = parse_json(self.text) if self.syntax == "json" else parse_yaml(self.text)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
        self._check_format(value, get_args(kind.model_fields["format"].annotation))
        return self.check(kind, value)

    def _check_format(self, value: object, known: tuple[str, ...]) -> None:
        # Before anything else: a file of another format would only be blamed for its keys.
        if not isinstance(value, dict):
            self.refuse((), f"found {show(value)}, expected {_KINDS[dict]}")
        if "format" not in value:
            self.refuse((), f"key 'format' is missing, expected {known[0]!r}")
        if value["format"] not in known:
            self.refuse(("format",), f"found {show(value['format'])}, expected {known[0]!r}")


def open_source(path: str | Path, *, most: int | None = None) -> Source:
    """Returns the text of a file; raises InputError where it cannot be read, has more bytes than `most`, or is not
    UTF-8."""
    file = str(path)
    syntax = "yaml" if Path(path).suffix.lower() in YAML_SUFFIXES else "json"
    try:
        if most is not None and (size := Path(path).stat().st_size) > most:
            raise InputError(f"{file}: found {size:,} bytes, expected at most {most:,}")
        return Source(file, Path(path).read_text(encoding="utf-8-sig"), syntax)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        # Windows programs call UTF-16 "Unicode", and mark it by these bytes.
        marked = error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        found = "UTF-16 or UTF-32, save it as UTF-8" if marked else f"byte {error.start}"
        raise InputError(f"{file}: not UTF-8 text ({found})") from None


def check_keys(kind: type[Fields], values: Mapping[str, Any]) -> None:
    """Raises InputError for a key that is not a field of `kind`, or a field that must be there and is not."""
    required = {
        field.alias or name: field.is_required() for name, field in kind.model_fields.items()
    }
    known = sorted(required, key=lambda key: key.startswith("$"))
    for key in values:
        if key not in required:
            raise UnknownKey(key, suggest(key, known))
    for key in known:
        if required[key] and key not in values:
            raise InputError(f"key {key!r} is missing")


def require_one(noun: str) -> pydantic.AfterValidator:
    """Returns the check that a list is not empty; `noun` is what it holds, for the message."""

    def check(items: list[Item]) -> list[Item]:
        if not items:
            raise InputError(f"is empty, expected at least one {noun}")
        return items

    return pydantic.AfterValidator(check)


def suggest(name: str, known: Collection[str]) -> str:
    """Returns what to write instead of a name that is not known: the nearest one, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(known)}"


def show(value: object) -> str:
    """Returns a JSON value as messages show it: at most 40 characters, or the kind of an object or a list."""
    if isinstance(value, dict | list) or value is None:
        return _KINDS[type(value)]
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _explain(error: pydantic.ValidationError, value: Any) -> tuple[tuple[Step, ...], str]:
    """Returns the path and the text of the first complaint of pydantic about a JSON value."""
    first = error.errors()[0]
    path = []
    for step in first["loc"]:
        # pydantic also names the member of a union here, which is no step into the value.
        if isinstance(value, dict if isinstance(step, str) else list) and (
            step in value if isinstance(step, str) else step < len(value)
        ):
            value = value[step]
            path.append(step)
    limits = first.get("ctx", {})
    if isinstance(limits.get("error"), InputError):
        return tuple(path), str(limits["error"])
    if first["type"] == "missing":
        return tuple(path), f"key {first['loc'][-1]!r} is missing"
    return tuple(path), _expect(first["type"], first["input"], limits)


def _expect(complaint: str, value: Any, limits: Mapping[str, Any]) -> str:
    """Returns what was found and what was expected in place of a value, by the name of pydantic's complaint."""
    if complaint == "literal_error":
        return f"found {show(value)}, expected {limits['expected'].replace(chr(39), '')}"
    expected = _EXPECTED.get(complaint, complaint.replace("_", " "))
    limit = next((limits[name] for name in _LIMITS if name in limits), None)
    if limit is None:
        return f"found {show(value)}, expected {expected}"
    # The value is shown as its field reads it: 0 is 0.0 where fractions are allowed.
    return f"found {type(limit)(value)}, expected {expected} {limit:,.15g}"


def _write_path(path: tuple[Step, ...]) -> str:
    """Returns a path as people write it, such as `shots[2].prompt`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "top level"
