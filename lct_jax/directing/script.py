"""Scripts: what a director writes of one scene, a global prompt and shots in order, read from a JSON file.

A script is the one input of sampling that is typed by hand, so a typo must cost one line on the screen and not a scene
without its main character. The classes under `Fields` are the file's objects and give docs/schemas/script.schema.json;
`Script` is what the rest of the project works with.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from lct_jax.directing.field_reader import Fields, FileFields, Source, open_source, require_one
from lct_jax.directing.links import Reference, check_refers
from lct_jax.directing.prompts import (
    Characters,
    GlobalPrompt,
    Prompt,
    ShotPrompt,
    Text,
    check_descriptions,
    check_mentions,
    make_global,
)
from lct_jax.errors import InputError

SCRIPT_FORMAT = "lct_jax.script/1"


@dataclass(frozen=True)
class Script:
    """Describes one scene: the global prompt (None if there is none) and its shots in order."""

    prompt: GlobalPrompt | None
    shots: tuple[ShotPrompt, ...]


def check_frames(frames: int) -> int:
    """Returns a number of frames; raises InputError where it is not 4n+1, which the video codecs need."""
    below = (frames - 1) // 4 * 4 + 1
    if frames < 1:
        raise InputError(f"found {frames}, expected 4n+1 frames, at least 1")
    if frames != below:
        raise InputError(f"found {frames}, expected 4n+1 frames: {below} or {below + 4}")
    return frames


def _check_given(name: str) -> str:
    if not name:
        raise InputError("is empty, leave the key out to generate the shot")
    return name


Frames = Annotated[int, AfterValidator(check_frames), Field(json_schema_extra={"minimum": 1})]
Given = Annotated[str, AfterValidator(_check_given), Field(json_schema_extra={"minLength": 1})]


class ShotFields(Fields):
    """One shot."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["frames", "given"]}})

    prompt: Prompt
    """What is seen and done. People are named as "Character ID", by the IDs described in `characters`."""
    cut: bool = True
    """True if the shot starts with a cut, false if it goes on from the shot before it."""
    frames: Frames | None = None
    """Length in frames, 4n+1. Left out, it is the sampling config's. A shot with `given` has none."""
    given: Given | None = None
    """Path, relative to the script, of an image or a video that stands in for a generated shot."""
    place: str = ""
    """Name of where the shot plays, by which other shots may refer to it."""
    refers: list[Reference] = Field(default_factory=list)
    """What the shot should agree with: earlier or given shots by number from 1, characters by ID, places by name."""


class ScriptFields(FileFields):
    """A script for lct_jax: one scene of one or more shots."""

    model_config = ConfigDict(title="lct_jax script")

    format: Literal["lct_jax.script/1"]
    """Name of this format."""
    characters: Characters = Field(default_factory=dict)
    """Who appears: an ID of letters, digits and _, and a description of the looks."""
    environment: Text = ""
    """Where and when the scene plays."""
    story: Text = ""
    """What happens over the whole scene."""
    shots: Annotated[
        list[ShotFields], require_one("shot"), Field(json_schema_extra={"minItems": 1})
    ]
    """The shots in order."""


def load_script(path: str | Path) -> Script:
    """Returns a script that was read from a JSON file and checked.

    The file is `{"format": "lct_jax.script/1", "characters": {"1": "..."}, "environment": "...",
    "story": "...", "shots": [{"prompt": "...", "cut": true, "frames": 17, "given": "x.png",
    "place": "quay", "refers": [1, "quay"]}]}`, of which `format`, `shots` and each `prompt` are
    required. `given` is relative to the script. A shot may refer to shots before it and to given ones.

    Raises:
      InputError: the script is not valid; the message names the file and the field, such as `shots[2].prompt`.
    """
    source = open_source(path)
    fields = source.parse(ScriptFields)
    characters = fields.characters
    check_descriptions(source, "characters", characters=characters)
    prompt = make_global(
        source, characters=characters, environment=fields.environment, story=fields.story
    )
    shots = tuple(
        _make_shot(source, number, shot, characters=characters, folder=Path(path).parent)
        for number, shot in enumerate(fields.shots)
    )
    check_refers(source, shots, characters=characters)
    return Script(prompt=prompt, shots=shots)


def _make_shot(
    source: Source, number: int, fields: ShotFields, *, characters: Collection[str], folder: Path
) -> ShotPrompt:
    with source.at("shots", number, "prompt"):
        check_mentions(fields.prompt, characters)
    if fields.frames is not None and fields.given is not None:
        complaint = "found beside 'given', whose picture or video has its own length"
        source.refuse(("shots", number, "frames"), complaint)
    given = "" if fields.given is None else folder / fields.given
    if given and not given.is_file():
        source.refuse(("shots", number, "given"), f"no such file: {str(given)!r}")
    return ShotPrompt(
        text=fields.prompt,
        cut=fields.cut,
        given=str(given),
        frames=fields.frames,
        place=fields.place.strip(),
        refers=tuple(fields.refers),
    )
