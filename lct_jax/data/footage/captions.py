"""Captions of the scenes of a film: brought by the user, or written by a vision model over its frames.

The scenes of one film enter as frame ranges; one `Caption` a scene leaves, or none with the reason. What a model
writes is held against the same rules as a scene file: IDs described once, shot prompts by ID alone, no tag. Whether a
shot begins with `[SHOT CUT]` is decided by how the footage was cut, never by a caption.

Brought captions lie beside the video, `NAME.captions.jsonl` (an object a line) or `NAME.captions.csv` (a header with
the same names; characters as a JSON object), in seconds of the video:

    {"start": 12.5, "end": 15.0, "prompt": "Character 1 opens the door."}                    a shot
    {"start": 10.0, "end": 42.0, "characters": {"1": "..."}, "environment": "...", "story": "..."}   a scene

Without start and end a line speaks of the whole video. A shot takes the prompt that covers most of it, at least half;
a scene takes the description that covers most of it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lct_jax.chat import Message, show_image
from lct_jax.directing.script import Field, GlobalPrompt, read_characters, read_global, read_prompt
from lct_jax.errors import InputError

SUFFIXES = (".captions.jsonl", ".captions.csv")
Range = tuple[int, int]
_KEYS = ("start", "end", "prompt", "characters", "environment", "story")

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
    """Texts of a scene: its global prompt (None: nothing is said), and a prompt a shot ("" where there is none)."""

    prompt: GlobalPrompt | None
    shots: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One line of a user's captions; times in seconds, the end may be infinite."""

    start: float
    end: float
    prompt: str
    scene: GlobalPrompt | None


def find_captions(video: Path) -> Path | None:
    """The caption file beside a video, if there is one."""
    beside = (video.with_name(video.stem + suffix) for suffix in SUFFIXES)
    return next((path for path in beside if path.is_file()), None)


def read_lines(path: Path) -> list[Line]:
    """Reads a caption file; raises InputError naming the line and the field."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    if path.name.endswith(".csv"):
        rows = [
            (n, _from_csv(path, n, row))
            for n, row in enumerate(csv.DictReader(text.splitlines()), 2)
        ]
    else:
        lines = enumerate(text.splitlines(), 1)
        rows = [(n, _from_json(path, n, line)) for n, line in lines if line.strip()]
    return [_read_line(Field(f"{path}: line {number}", "", value)) for number, value in rows]


def caption_from_lines(lines: Sequence[Line], shots: Sequence[Range], *, fps: float) -> Caption:
    """What a user's lines say of a scene whose shots are these ranges of frames."""
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


def ask_about(pictures: Sequence[Sequence[np.ndarray]]) -> list[Message]:
    """The messages that show a scene, uint8 RGB frames shot by shot, and ask for its caption."""
    content: list[Message] = []
    for number, frames in enumerate(pictures, start=1):
        content.append({"type": "text", "text": f"Shot {number} of {len(pictures)}:"})
        content += [show_image(frame) for frame in frames]
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": content}]


def check_answer(answer: Any, *, shots: int) -> Caption:
    """The caption in a model's answer; raises InputError where it breaks a rule of scene files."""
    fields = Field("answer", "", answer).keys(("characters", "environment", "story", "shots"))
    characters = read_characters(fields["characters"])
    found = fields["shots"].items()
    if len(found) != shots:
        fields["shots"].refuse(f"found {len(found)} texts, expected {shots}, one a shot")
    prompts = tuple(read_prompt(field, characters) for field in found)
    return Caption(read_global(fields, characters), prompts)


def _from_json(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number}: not JSON ({error})") from None


def _from_csv(path: Path, number: int, row: Mapping[str | None, Any]) -> dict[str, Any]:
    if None in row:
        raise InputError(f"{path}: line {number}: more columns than the header names")
    values: dict[str, Any] = {key: value for key, value in row.items() if value}
    for key in ("start", "end"):
        if key in values:
            try:
                values[key] = float(values[key])
            except ValueError:
                raise InputError(
                    f"{path}: line {number}: {key}: found {values[key]!r}, expected seconds"
                ) from None
    if "characters" in values:
        values["characters"] = _from_json(path, number, values["characters"])
    return values


def _read_line(top: Field) -> Line:
    fields = top.keys((), _KEYS)
    start, end = (
        float(fields[key].value) if key in fields and _is_number(fields[key]) else default
        for key, default in (("start", 0.0), ("end", float("inf")))
    )
    if not 0 <= start < end:
        top.refuse(f"found start {start} and end {end}, expected 0 <= start < end, in seconds")
    characters = read_characters(fields["characters"]) if "characters" in fields else {}
    # IDs of a shot's prompt are checked when it meets its scene: the line alone does not know them.
    prompt = fields["prompt"].of(str).strip() if "prompt" in fields else ""
    return Line(start, end, prompt, read_global(fields, characters))


def _is_number(field: Field) -> bool:
    if isinstance(field.value, bool) or not isinstance(field.value, (int, float)):
        field.refuse(f"found {field.value!r}, expected seconds")
    return True


def _overlap(line: Line, start: float, end: float) -> float:
    return min(line.end, end) - max(line.start, start)
