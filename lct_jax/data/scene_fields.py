"""The fields of scene files and lists of cuts, as they stand in the files.

The classes give docs/schemas/scenes.schema.json and docs/schemas/cuts.schema.json: the text below a field is what an
editor shows of it. `scene_file.py` and `footage/find_videos.py` read the files and check what concerns several fields.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag

from lct_jax.directing.field_reader import Fields, FileFields, require_one
from lct_jax.directing.prompts import Characters, NotEmpty, Prompt, Text
from lct_jax.errors import InputError


def check_bounds(bounds: list[int]) -> list[int]:
    """Returns [start, end] of a half-open range; raises InputError where they are none."""
    if len(bounds) != 2:
        raise InputError(f"found {len(bounds)} numbers, expected [start, end]")
    if not 0 <= bounds[0] < bounds[1]:
        raise InputError(
            f"found {bounds}, expected 0 <= start < end (end is the first frame not in it)"
        )
    return bounds


Bounds = Annotated[
    list[Annotated[int, Field(json_schema_extra={"minimum": 0})]],
    AfterValidator(check_bounds),
    Field(json_schema_extra={"minItems": 2, "maxItems": 2}),
]
Rate = Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)]
OwnOrListed = Annotated[
    Annotated[list[str], Tag("as a list")] | Annotated[Characters, Tag("as an object")],
    Discriminator(lambda value: "as an object" if isinstance(value, dict) else "as a list"),
]


class FilmFields(Fields):
    """The film that the scenes are taken from."""

    file: NotEmpty
    """Path of the film, relative to the scene file."""
    title: NotEmpty
    """Name of the film. It is kept with the set, the weights and the samples, and drawn on storyboards."""
    credit: NotEmpty
    """Line to be shown wherever pictures of the film are, or "unknown"."""
    licence: NotEmpty
    """Terms of the film, such as "CC BY 3.0", or "unknown"."""
    fps: Rate
    """Frames a second of the frames that `frames` counts; best is the film's own rate."""


class AnnotatedShotFields(Fields):
    """One shot of a scene."""

    frames: Bounds
    """[start, end): the first frame of the shot and the first frame behind it; the film starts at frame 0."""
    cut: bool = True
    """False where the take of the shot before goes on, right behind its last frame."""
    prompt: Prompt
    """What is seen and done. People are named as "Character ID", by IDs in the scene's `characters`."""


class AnnotatedSceneFields(Fields):
    """One scene: shots that follow one another in the film and belong together."""

    id: NotEmpty
    """Name of the scene, which no other scene of the file has."""
    split: Literal["train", "held_out"]
    """Whether the scene is trained on or kept for validation. No frame is in both."""
    characters: OwnOrListed
    """IDs of the cast that the texts of this scene may mention, or an object with descriptions of its own."""
    environment: Text
    """Where and when the scene plays; may be empty."""
    story: Text
    """What happens over the whole scene; may be empty."""
    shots: Annotated[
        list[AnnotatedShotFields], require_one("shot"), Field(json_schema_extra={"minItems": 1})
    ]
    """The shots in order; they do not overlap."""


class SceneFileFields(FileFields):
    """Annotated footage for lct_jax: the scenes of one film."""

    model_config = ConfigDict(title="lct_jax scene file")

    format: Literal["lct_jax.scenes/1"]
    """Name of this format."""
    film: FilmFields
    """The film, and at which rate the scenes count its frames."""
    cast: Characters
    """Who appears in the film: an ID of letters, digits and _, and a description of the looks."""
    scenes: Annotated[
        list[AnnotatedSceneFields], require_one("scene"), Field(json_schema_extra={"minItems": 1})
    ]
    """The scenes, in any order."""


class CutListFields(FileFields):
    """Shots of one video for lct_jax, or shots of its scenes."""

    model_config = ConfigDict(
        title="lct_jax list of cuts",
        json_schema_extra={"oneOf": [{"required": ["shots"]}, {"required": ["scenes"]}]},
    )

    format: Literal["lct_jax.cuts/1"]
    """Name of this format."""
    fps: Rate
    """Frames a second of the frames that the list counts; best is the film's own rate."""
    shots: list[Bounds] | None = None
    """Shots in order, each [start, end): its first frame and the first frame behind it. Scenes are made of them."""
    scenes: list[list[Bounds]] | None = None
    """Scenes in order, in place of `shots`: the shots of each, which are not grouped again."""
