"""The fields of scripts, as they stand in the files.

The classes give docs/schemas/script.schema.json: the text below a field is what an editor shows of it. `script.py`
reads the files and checks what concerns several fields.
"""

from __future__ import annotations

import re
import typing
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag

from lct_jax.config import Mode, SamplingConfig
from lct_jax.directing.field_reader import Fields, FileFields, require_one
from lct_jax.directing.links import Reference
from lct_jax.directing.prompts import NotEmpty, Prompt, Text, check_characters
from lct_jax.errors import InputError

# The number of frames that no shot exceeds: some 80 seconds at 12 frames a second.
MOST_FRAMES = 1001
# The pixels that no side of a shot exceeds.
MOST_PIXELS = 8192


def check_frames(frames: int) -> int:
    """Returns a number of frames; raises InputError where it is too large, or not 4n+1, which the codecs need."""
    if frames > MOST_FRAMES:
        raise InputError(
            f"found {frames:,}, expected at most {MOST_FRAMES:,} frames: divide it into shots with "
            "'overlap'"
        )
    below = (frames - 1) // 4 * 4 + 1
    if frames < 1:
        raise InputError(f"found {frames}, expected 4n+1 frames, at least 1")
    if frames != below:
        raise InputError(f"found {frames}, expected 4n+1 frames: {below} or {below + 4}")
    return frames


def read_aspect(aspect: str) -> float:
    """Returns width over height of "16:9"; raises InputError where it is no such ratio."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", aspect)
    sides = [float(side) for side in match.groups()] if match else []
    if not match or min(sides) <= 0 or not 0.1 <= sides[0] / sides[1] <= 10:
        raise InputError(f"found {aspect!r}, expected width to height, such as 16:9")
    return sides[0] / sides[1]


def _check_aspect(aspect: str) -> str:
    read_aspect(aspect)
    return aspect


def _check_file(name: str) -> str:
    if not name:
        raise InputError("is empty, leave the key out to generate the shot")
    return name


def _choose(value: object) -> str:
    return "as an object" if isinstance(value, dict) else "as a path"


def _choose_text(value: object) -> str:
    return "as an object" if isinstance(value, dict) else "as a text"


Frames = Annotated[
    int,
    AfterValidator(check_frames),
    Field(json_schema_extra={"minimum": 1, "maximum": MOST_FRAMES}),
]
Aspect = Annotated[
    str, AfterValidator(_check_aspect), Field(json_schema_extra={"pattern": r"^[\d.]+:[\d.]+$"})
]
File = Annotated[str, AfterValidator(_check_file), Field(json_schema_extra={"minLength": 1})]
Side = Annotated[int, Field(gt=0, le=MOST_PIXELS)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0)]


class ConditionFields(Fields):
    """An image, a video or latents, and the time at which they are held."""

    file: File
    """Path, relative to the script, of an image, a video, or latents (.safetensors)."""
    time: Time | None = None
    """Diffusion time at which it is held, from 0 (clean) to 1 (noise). Left out, it is `sampler.condition_time`."""
    tensor: str = ""
    """Which latents of the file. Left out, they are those named after the shot, such as shot_03, or the only ones."""


class EdgeFields(ConditionFields):
    """An image or a video that is held as the first or the last frames of a shot."""

    frames: Annotated[int, Field(gt=0)] | None = None
    """How many of its frames are held: 4n+1 first ones or 4n last ones. Left out, 1 and 4."""


class PictureFields(Fields):
    """A picture of a character or of a place, which becomes a given shot of one frame."""

    file: File
    """Path, relative to the script, of an image."""
    prompt: Prompt | None = None
    """What is seen in it. Left out, "A close-up of Character ID." or "A wide shot of PLACE."."""
    time: Time | None = None
    """Diffusion time at which it is held. Left out, it is `sampler.condition_time`."""


Given = Annotated[
    Annotated[File, Tag("as a path")] | Annotated[ConditionFields, Tag("as an object")],
    Discriminator(_choose),
]
Edge = Annotated[
    Annotated[File, Tag("as a path")] | Annotated[EdgeFields, Tag("as an object")],
    Discriminator(_choose),
]
Picture = Annotated[
    Annotated[File, Tag("as a path")] | Annotated[PictureFields, Tag("as an object")],
    Discriminator(_choose),
]


class CharacterFields(Fields):
    """A character with pictures."""

    text: Prompt
    """Description of the looks."""
    images: list[Picture] = Field(default_factory=list)
    """Pictures of the character, which every shot that names the character sees."""


class PlaceFields(Fields):
    """A place with pictures."""

    images: list[Picture] = Field(default_factory=list)
    """Pictures of the place, which every shot that plays there sees."""


Cast = Annotated[
    dict[
        str,
        Annotated[
            Annotated[Prompt, Tag("as a text")] | Annotated[CharacterFields, Tag("as an object")],
            Discriminator(_choose_text),
        ],
    ],
    AfterValidator(check_characters),
]


class ShotFields(Fields):
    """One shot."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "anyOf": [
                    {"required": ["given", field]}
                    for field in ("frames", "seconds", "first", "last", "aspect", "height")
                ]
            }
        }
    )

    prompt: Prompt
    """What is seen and done. People are named as "Character ID", by the IDs described in `characters`."""
    alone: Prompt | None = None
    """Prompt with which modes that know no scene sample the shot. Left out, it is `prompt` behind descriptions."""
    cut: bool = True
    """True if the shot starts with a cut, false if it goes on from the shot before it."""
    frames: Frames | None = None
    """Length in frames, 4n+1. Left out, it is `seconds`, or the sampler's. A shot with `given` has none."""
    seconds: Seconds | None = None
    """Length in seconds, taken to the nearest 4n+1 frames."""
    aspect: Aspect | None = None
    """Width to height, such as "16:9", at the pixel area of the sampler."""
    height: Side | None = None
    """Height in pixels, together with `width`."""
    width: Side | None = None
    """Width in pixels, together with `height`."""
    given: Given | None = None
    """An image, a video or latents that stand in for a generated shot: a path relative to the script, or an object."""
    first: Edge | None = None
    """An image or a video that is held as the first frames of the shot; of a video, its last frames."""
    last: Edge | None = None
    """An image or a video that is held as the last frames of the shot; of a video, its first frames."""
    overlap: Frames | None = None
    """How many frames at the end of the shot before begin this one, 4n+1, so that it goes on without a seam."""
    negative: Text | None = None
    """Short negative prompt of the shot. Left out, it is `sampler.negative_shot`."""
    seed: Seed | None = None
    """Seed of the shot's own noise. Left out, its noise comes from the seed of the scene."""
    key: bool = False
    """True samples the shot before all others that are not key shots."""
    shown: bool = True
    """False leaves the shot out of the film: it is only seen by other shots."""
    place: str = ""
    """Name of where the shot plays, by which other shots may refer to it."""
    refers: list[Reference] = Field(default_factory=list)
    """What the shot should agree with: earlier or given shots by number from 1, characters by ID, places by name."""
    history: list[int] | None = None
    """The shots that it sees, by number from 1, and no others. Left out, the sampler chooses them."""


def _make_sampler_fields() -> type[Fields]:
    """Returns the fields of a script's `sampler`: those of `SamplingConfig`, each of which may be left out."""
    hints = typing.get_type_hints(SamplingConfig, include_extras=True) | {"mode": Mode}
    told = "sampling.{} of the config, as lct_jax/config/sampling.py explains it."
    told_mode = "How shots are sampled."
    fields = {
        name: (
            hint | None,
            Field(None, description=told_mode if name == "mode" else told.format(name)),
        )
        for name, hint in hints.items()
    }
    doc = "Settings of sampling. Flags of the command line take their place."
    return pydantic.create_model("SamplerFields", __base__=Fields, __doc__=doc, **fields)


SamplerFields = _make_sampler_fields()


class ScriptFields(FileFields):
    """A script for lct_jax: one scene of one or more shots."""

    model_config = ConfigDict(title="lct_jax script")

    format: Literal["lct_jax.script/2", "lct_jax.script/1"]
    """Name of this format. Files of the former format, 1, are read as they were."""
    characters: Cast = Field(default_factory=dict)
    """Who appears: an ID of letters, digits and _, and a description of the looks, or an object with pictures."""
    places: dict[NotEmpty, PlaceFields] = Field(default_factory=dict)
    """Pictures of places, by the names that shots have in `place`."""
    environment: Text = ""
    """Where and when the scene plays."""
    story: Text = ""
    """What happens over the whole scene."""
    sampler: SamplerFields = Field(default_factory=SamplerFields)
    """Settings of sampling, such as steps, guidance, seed and negative prompts."""
    shots: Annotated[
        list[ShotFields], require_one("shot"), Field(json_schema_extra={"minItems": 1})
    ]
    """The shots in order."""
