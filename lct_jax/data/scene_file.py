"""Reads annotated footage: which frames of a film make up which scene, and what is seen in them.

A scene file is a JSON file beside a film, whose fields are in `scene_fields.py`. The scenes of a `SceneFile` hold the
same `Script` that a director writes, so training and sampling read prompts in one way. The film itself is not opened
here: `check_ranges` compares the annotation with its length once that is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lct_jax.data.scene_fields import AnnotatedSceneFields, AnnotatedShotFields, SceneFileFields
from lct_jax.directing.field_reader import Source, open_source, suggest
from lct_jax.directing.prompts import ShotPrompt, check_descriptions, check_mentions, make_global
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

SCENE_FORMAT = "lct_jax.scenes/1"
UNKNOWN = "unknown"  # credit or licence of footage of which nobody said


@dataclass(frozen=True)
class Film:
    """Describes the footage and its licence.

    Attributes:
      file: path of the film; the file names it relative to itself.
      title: name of the film.
      credit: line to be shown wherever its pictures are.
      licence: terms of the film.
      fps: frames a second, of the frames that the ranges count.
    """

    file: str
    title: str
    credit: str
    licence: str
    fps: float

    @property
    def credit_line(self) -> str:
        """Returns title, credit and licence in one line; "" where the credit is unknown."""
        return "" if self.credit == UNKNOWN else f"{self.title} {self.credit}, {self.licence}"


@dataclass(frozen=True)
class FrameRange:
    """A half-open range [start, end) of decoded frame numbers; the film starts at frame 0."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def overlaps(self, other: FrameRange) -> bool:
        """Returns whether the two ranges have a frame in common."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class AnnotatedScene:
    """Describes a scene of the film: `ranges[i]` holds the frames of `script.shots[i]`."""

    id: str
    split: str
    script: Script
    ranges: tuple[FrameRange, ...]


@dataclass(frozen=True)
class SceneFile:
    """Describes a film and its annotated scenes, in the order of the file."""

    film: Film
    scenes: tuple[AnnotatedScene, ...]


def load_scene_file(path: str | Path) -> SceneFile:
    """Returns the annotated footage of a scene file, which was read and checked.

    The file is `{"format": "lct_jax.scenes/1", "film": {"file", "title", "credit", "licence",
    "fps"}, "cast": {"1": "..."}, "scenes": [{"id", "split", "characters": ["1"], "environment",
    "story", "shots": [{"frames": [start, end], "cut": true, "prompt": "..."}]}]}`; `cut` alone may
    be left out (true). A scene's `characters` may also be `{"1": "..."}`: descriptions of its own.

    Raises:
      InputError: names the file and the field, such as `scenes[0].shots[2].frames`.
    """
    source = open_source(path)
    fields = source.parse(SceneFileFields)
    check_descriptions(source, "cast", characters=fields.cast)
    scenes = tuple(
        _make_scene(source, number, scene, cast=fields.cast)
        for number, scene in enumerate(fields.scenes)
    )
    for number, scene in enumerate(scenes):
        with source.at("scenes", number):
            for other in scenes[:number]:
                _compare_scenes(scene, other)
    film = fields.film.model_dump()
    return SceneFile(Film(**{**film, "file": str(Path(path).parent / film["file"])}), scenes)


def check_ranges(scene_file: SceneFile, frame_count: int) -> None:
    """Checks that no annotation reaches past the end of a film of `frame_count` decoded frames.

    Raises:
      InputError: names the film, the scene, the shot, where it ends and where the film does.
    """
    for scene in scene_file.scenes:
        for i, frames in enumerate(scene.ranges):
            if frames.end > frame_count:
                raise InputError(
                    f"{scene_file.film.file}: scene {scene.id!r}: shots[{i}] ends at frame"
                    f" {frames.end}, but the film has {frame_count} frames"
                )


def _make_scene(
    source: Source, number: int, fields: AnnotatedSceneFields, *, cast: Mapping[str, str]
) -> AnnotatedScene:
    here = ("scenes", number)
    characters = _find_characters(source, number, fields, cast=cast)
    prompts = []
    for i, shot in enumerate(fields.shots):
        with source.at(*here, "shots", i, "prompt"):
            check_mentions(shot.prompt, characters)
        prompts.append(ShotPrompt(text=shot.prompt, cut=shot.cut))
    prompt = make_global(
        source, *here, characters=characters, environment=fields.environment, story=fields.story
    )
    return AnnotatedScene(
        id=fields.id,
        split=fields.split,
        script=Script(prompt=prompt, shots=tuple(prompts)),
        ranges=_make_ranges(source, number, fields.shots),
    )


def _find_characters(
    source: Source, number: int, fields: AnnotatedSceneFields, *, cast: Mapping[str, str]
) -> dict[str, str]:
    """Returns the descriptions of a scene: its own, or those of the cast that it lists."""
    here = ("scenes", number, "characters")
    if isinstance(fields.characters, dict):
        check_descriptions(source, *here, characters=fields.characters)
        return fields.characters
    listed: dict[str, str] = {}
    for i, name in enumerate(fields.characters):
        with source.at(*here, i):
            if name not in cast:
                raise InputError(f"{name!r} is not in the cast, {suggest(name, cast)}")
            if name in listed:
                raise InputError(f"{name!r} is listed twice")
        listed[name] = cast[name]
    return listed


def _make_ranges(
    source: Source, number: int, shots: Sequence[AnnotatedShotFields]
) -> tuple[FrameRange, ...]:
    ranges: list[FrameRange] = []
    for i, shot in enumerate(shots):
        with source.at("scenes", number, "shots", i, "frames"):
            ranges.append(_follow(shot, after=ranges[-1].end if ranges else None))
    return tuple(ranges)


def _follow(shot: AnnotatedShotFields, *, after: int | None) -> FrameRange:
    """Returns the range of a shot; `after` is where the shot before it ends, None for the first one."""
    start, end = shot.frames
    if after is not None and start < after:
        raise InputError(
            f"found {shot.frames}, expected a start at or after {after}, where the last shot ends"
        )
    if after is not None and start != after and not shot.cut:
        raise InputError(
            f"starts at {start}, expected {after}, where the last shot ends: cut is false"
        )
    return FrameRange(start, end)


def _compare_scenes(scene: AnnotatedScene, other: AnnotatedScene) -> None:
    if scene.id == other.id:
        raise InputError(f"the id {scene.id!r} is taken by an earlier scene")
    # Frames trained on would be scored as held out; within one split scenes may share frames.
    shared = any(a.overlaps(b) for a in scene.ranges for b in other.ranges)
    if shared and scene.split != other.split:
        raise InputError(
            f"{scene.split} shares frames with scene {other.id!r}, which is {other.split}"
        )
