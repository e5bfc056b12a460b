"""Reads the captions that a user put beside a video: lines of JSON or a table, as other programs write them.

They are `NAME.captions.jsonl` (an object a line) or `NAME.captions.csv` (a header with the same names; characters as a
JSON object), in seconds of the video. They are UTF-8, or UTF-16 with its mark; columns of a table end in commas,
semicolons or tabs. Line breaks and control characters inside of a text become a space, because text encoders drop some
of them and join the words on both sides:

    {"start": 12.5, "end": 15.0, "prompt": "Character 1 opens the door."}                    a shot
    {"start": 10.0, "end": 42.0, "characters": {"1": "..."}, "environment": "...", "story": "..."}   a scene

A line without start and end describes the whole video.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lct_jax.chat.read_json import load_strictly
from lct_jax.data.footage.lists import CAPTION_SUFFIXES, find_list
from lct_jax.directing.field_reader import Fields, Source, show, suggest
from lct_jax.directing.prompts import (
    Characters,
    GlobalPrompt,
    Text,
    clean_texts,
    make_described,
)
from lct_jax.errors import InputError

_DELIMITERS = ",;\t"
# Spreadsheets read and write their delimiter in a line before the header.
_DELIMITER_LINE = re.compile(r"sep=([,;\t])\r?\n", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """Holds one line of a user's captions; times are in seconds, and the end may be infinite."""

    start: float
    end: float
    prompt: str
    scene: GlobalPrompt | None


def _check_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"found {show(value)}, expected seconds")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"found {show(value)}, expected seconds") from None


Seconds = Annotated[float, BeforeValidator(_check_seconds)]


class LineFields(Fields):
    """A line of a user's captions: the prompt of a shot, or the description of a scene."""

    start: Seconds = 0.0
    end: Seconds = float("inf")
    prompt: str = ""
    characters: Characters = Field(default_factory=dict)
    environment: Text = ""
    story: Text = ""


def find_captions(video: Path) -> Path | None:
    """Returns the caption file beside a video, if there is one."""
    return find_list(video, CAPTION_SUFFIXES)


def read_lines(path: Path) -> list[Line]:
    """Reads a caption file; raises InputError naming the line and the field."""
    read = _read_table if path.name.lower().endswith(".csv") else _read_json_lines
    rows = read(path, _read_text(path))
    return [
        _read_line(Source(f"{path}: line {number}"), clean_texts(value)) for number, value in rows
    ]


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in data[:4] and (not wide or data.startswith(codecs.BOM_UTF32_LE)):
        raise InputError(
            f"{path}: begins with a NUL byte, as UTF-16 without its mark and UTF-32 do,"
            " expected the file saved as UTF-8"
        )
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: line {line}: byte {error.start} is no UTF-8 text, expected the file saved as UTF-8"
        ) from None


def _read_json_lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    # Lines end at line feeds alone: JSON leaves other line breaks, such as U+2028, in its texts as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _from_json(path, number, line)


def _from_json(path: Path, number: int, text: str) -> Any:
    try:
        return load_strictly(text)
    except InputError as error:
        raise InputError(f"{path}: line {number}: {error}") from None
    except ValueError as error:
        raise InputError(f"{path}: line {number}: not JSON ({error})") from None


def _read_table(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    hint = _DELIMITER_LINE.match(text)
    skipped, text = (1, text[hint.end() :]) if hint else (0, text)
    header = text.partition("\n")[0]
    delimiter = hint[1] if hint else max(_DELIMITERS, key=header.count)
    # With a space before it, a quote would otherwise be a part of the text.
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    # A row is named by the line in which it begins; the reader knows where it ends.
    number = skipped + 1
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        _check_columns(f"{path}: line {number}", reader.fieldnames)
        number = skipped + reader.line_num + 1
        for row in reader:
            yield number, _from_row(path, number, row, comma=delimiter != ",")
            number = skipped + reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: line {number}: not a table ({error})") from None


def _check_columns(where: str, names: Sequence[str]) -> None:
    """Raises InputError where the first line of a table is no header of captions."""
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two columns have one name")
    # A column without a name may be there as long as nothing is in it.
    for name in filter(None, names):
        if name not in LineFields.model_fields:
            known = suggest(name, list(LineFields.model_fields))
            raise InputError(f"{where}: found {show(name)}, expected a header: {known}")


def _from_row(
    path: Path, number: int, row: Mapping[str | None, Any], *, comma: bool
) -> dict[str, Any]:
    """Returns a row as the object of a JSON line; `comma` says that numbers may have a decimal comma."""
    if None in row:
        raise InputError(f"{path}: line {number}: more columns than the header names")
    values: dict[str, Any] = {key: value for key, value in row.items() if value}
    for key in ("start", "end"):
        if key in values:
            try:
                values[key] = float(values[key].replace(",", ".") if comma else values[key])
            except ValueError:
                raise InputError(
                    f"{path}: line {number}: {key}: found {values[key]!r}, expected seconds"
                ) from None
    if "characters" in values:
        values["characters"] = _from_json(path, number, values["characters"])
    return values


def _read_line(source: Source, value: Any) -> Line:
    fields = source.check(LineFields, value)
    if not 0 <= fields.start < fields.end:
        found = f"found start {fields.start} and end {fields.end}"
        source.refuse((), f"{found}, expected 0 <= start < end, in seconds")
    # IDs of a shot's prompt are checked when it meets its scene: the line alone does not know them.
    scene = make_described(
        source,
        characters=fields.characters,
        environment=fields.environment,
        story=fields.story,
    )
    return Line(fields.start, fields.end, fields.prompt.strip(), scene)
