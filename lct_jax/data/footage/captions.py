"""Finds captions for the scenes of a film: files of the user, or the answers of a vision model that is shown frames.

The scenes of a film are given as frame ranges, and each gets one `Caption`, or the reason why it has none. What a model
writes is checked by the rules of a scene file: IDs are described once, shot prompts name people by ID alone, and there
is no tag. Whether a shot begins with `[SHOT CUT]` is decided by how the footage was cut, never by a caption.

A user's captions lie beside the video, `NAME.captions.jsonl` (an object a line) or `NAME.captions.csv` (a header with
the same names; characters as a JSON object), in seconds of the video. They are UTF-8, or UTF-16 with its mark; columns
of a table end in commas, semicolons or tabs. Line breaks of any kind inside of a text become a space, because text
encoders drop some of them and join the words on both sides:

    {"start": 12.5, "end": 15.0, "prompt": "Character 1 opens the door."}                    a shot
    {"start": 10.0, "end": 42.0, "characters": {"1": "..."}, "environment": "...", "story": "..."}   a scene

A line without start and end describes the whole video. A shot takes the prompt that covers most of it, at least half;
a scene takes the description that covers most of it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from lct_jax.chat import Message, show_image
from lct_jax.chat.read_json import load_strictly
from lct_jax.data.footage.caption_frames import merge_pictures
from lct_jax.data.footage.lists import CAPTION_SUFFIXES, find_list
from lct_jax.directing.field_reader import Fields, Source, show, suggest
from lct_jax.directing.prompts import (
    Characters,
    GlobalPrompt,
    Prompt,
    Text,
    check_descriptions,
    check_mentions,
    join_lines,
    make_global,
)
from lct_jax.errors import InputError

Range = tuple[int, int]
_DELIMITERS = ",;\t"
# Spreadsheets read and write their delimiter in a line before the header.
_DELIMITER_LINE = re.compile(r"sep=([,;\t])\r?\n", re.IGNORECASE)

INSTRUCTION = """\
You describe a scene of a film for people who will film it anew without having seen it. You are shown a few frames of
each of its shots, in order. Reply with one JSON object and nothing else:
{"characters": {"1": "..."}, "environment": "...", "story": "...", "shots": ["...", "..."]}
- characters: everybody who matters, under the numbers "1", "2", ...: looks alone (age, build, hair, clothes,
  colours), at most 25 words each, no names. Leave it empty when nobody is there.
- environment: the place, its light and its mood, at most 30 words.
- story: what happens from the first shot to the last, at most 40 words.
- shots: exactly one text a shot, in the order shown, at most 40 words: first how it is framed and how the
  camera moves, then what is seen and done.
- Wherever a character is meant, write "Character 1" and so on, never a name or a description, and only numbers that
  characters describes.
- Write nothing about cuts or transitions, and no text in square brackets."""


@dataclass(frozen=True)
class Caption:
    """Holds the texts of a scene: its global prompt (None if it has none), and a prompt for each shot ("" if it has
    none)."""

    prompt: GlobalPrompt | None
    shots: tuple[str, ...]


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


class AnswerFields(Fields):
    """The answer of a model that was asked for the caption of a scene."""

    characters: Characters
    environment: Text
    story: Text
    shots: list[Prompt]


def find_captions(video: Path) -> Path | None:
    """Returns the caption file beside a video, if there is one."""
    return find_list(video, CAPTION_SUFFIXES)


def read_lines(path: Path) -> list[Line]:
    """Reads a caption file; raises InputError naming the line and the field."""
    read = _read_table if path.name.lower().endswith(".csv") else _read_json_lines
    rows = read(path, _read_text(path))
    return [
        _read_line(Source(f"{path}: line {number}"), join_lines(value)) for number, value in rows
    ]


def caption_from_lines(lines: Sequence[Line], shots: Sequence[Range], *, fps: float) -> Caption:
    """Returns the caption that a user's lines give to a scene whose shots are these ranges of frames."""
    spans = [(start / fps, end / fps) for start, end in shots]
    prompts = []
    for start, end in spans:
        said = [(_overlap(line, start, end), line.prompt) for line in lines if line.prompt]
        cover, prompt = max(said, key=lambda pair: pair[0], default=(0.0, ""))
        prompts.append(prompt if cover >= 0.5 * (end - start) else "")
    about = [
        (_overlap(x, spans[0][0], spans[-1][1]), x.scene) for x in lines if x.scene is not None
    ]
    cover, scene = max(about, key=lambda pair: pair[0], default=(0.0, None))
    return Caption(scene if cover > 0 else None, tuple(prompts))


def count_unused(lines: Sequence[Line], captions: Sequence[Caption]) -> int:
    """Returns how many of a user's lines are in no caption: those that meet no shot, or that another line outdoes."""
    prompts = {prompt for caption in captions for prompt in caption.shots if prompt}
    scenes = [caption.prompt for caption in captions if caption.prompt is not None]
    return sum(line.prompt not in prompts and line.scene not in scenes for line in lines)


def ask_about(
    pictures: Sequence[Sequence[np.ndarray]], *, limit: int | None = None
) -> list[Message]:
    """Returns the messages that show a scene, uint8 RGB frames shot by shot, and ask for its caption.

    Args:
        limit: the largest number of pictures that the endpoint takes; None shows every frame as a picture.
    """
    limit = sum(map(len, pictures)) if limit is None else limit
    content: list[Message] = []
    if sum(map(len, pictures)) <= limit:
        groups = [(f"Shot {n} of {len(pictures)}:", x) for n, x in enumerate(pictures, start=1)]
    else:
        groups = merge_pictures(pictures, limit)
    for text, shown in groups:
        content.append({"type": "text", "text": text})
        content += [show_image(frame) for frame in shown]
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": content}]


def check_answer(
    answer: Any, *, shots: int, check_length: Callable[[Caption], None] | None = None
) -> Caption:
    """Returns the caption in a model's answer; raises InputError where it breaks a rule of scene files.

    Args:
        shots: the number of shots in the scene. check_length: raises InputError for a caption with a text that is too
            long.
    """
    source = Source("answer")
    fields = source.check(AnswerFields, join_lines(answer))
    if len(fields.shots) != shots:
        source.refuse(("shots",), f"found {len(fields.shots)} texts, expected {shots}, one a shot")
    for number, text in enumerate(fields.shots):
        with source.at("shots", number):
            check_mentions(text, fields.characters)
    caption = Caption(_make_global(source, fields), tuple(fields.shots))
    if check_length is not None:
        check_length(caption)
    return caption


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
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    # A row is named by the line in which it begins; the reader knows where it ends.
    number = skipped + 1
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        _check_columns(f"{path}: line {number}", reader.fieldnames)
        number = skipped + reader.line_num + 1
        for row in reader:
            yield number, _from_row(path, number, row, comma=delimiter == ";")
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
    return Line(fields.start, fields.end, fields.prompt.strip(), _make_global(source, fields))


def _make_global(source: Source, fields: LineFields | AnswerFields) -> GlobalPrompt | None:
    check_descriptions(source, "characters", characters=fields.characters)
    return make_global(
        source,
        characters=fields.characters,
        environment=fields.environment,
        story=fields.story,
    )


def _overlap(line: Line, start: float, end: float) -> float:
    return min(line.end, end) - max(line.start, start)
