"""Finds captions for the scenes of a film: files of the user, or the answers of a vision model that is shown frames.

The scenes of a film are given as frame ranges, and each gets one `Caption`, or the reason why it has none. What a model
writes is checked by the rules of a scene file: IDs are described once, shot prompts name people by ID alone, and there
is no tag. Whether a shot begins with `[SHOT CUT]` is decided by how the footage was cut, never by a caption.

A shot takes that line of a user's captions (`caption_files.py`) whose prompt covers most of it, at least half; a scene
takes the description that covers most of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lct_jax.chat import Message, show_image
from lct_jax.data.footage.caption_files import Line
from lct_jax.data.footage.caption_frames import merge_pictures
from lct_jax.directing.field_reader import Fields, Source
from lct_jax.directing.prompts import (
    Characters,
    GlobalPrompt,
    Prompt,
    Text,
    check_mentions,
    check_text,
    clean_texts,
    make_described,
)
from lct_jax.errors import InputError

Range = tuple[int, int]
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


class AnswerFields(Fields):
    """The answer of a model that was asked for the caption of a scene."""

    characters: Characters
    environment: Text
    story: Text
    shots: list[Prompt]


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


def find_fault(text: str, described: Mapping[str, str]) -> str:
    """Returns why a shot's text cannot be used, as the report counts it; "" where it can be."""
    if not text.strip():
        return "no caption"
    try:
        check_text(text)
    except InputError:
        return "caption writes the tag of a cut"
    try:
        check_mentions(text, described)
    except InputError:
        return "caption names nobody described"
    return ""


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
    fields = source.check(AnswerFields, clean_texts(answer))
    if len(fields.shots) != shots:
        source.refuse(("shots",), f"found {len(fields.shots)} texts, expected {shots}, one a shot")
    for number, text in enumerate(fields.shots):
        with source.at("shots", number):
            check_mentions(text, fields.characters)
    prompt = make_described(
        source,
        characters=fields.characters,
        environment=fields.environment,
        story=fields.story,
    )
    caption = Caption(prompt, tuple(fields.shots))
    if check_length is not None:
        check_length(caption)
    return caption


def _overlap(line: Line, start: float, end: float) -> float:
    return min(line.end, end) - max(line.start, start)
