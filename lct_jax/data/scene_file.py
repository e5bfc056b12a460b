"""Reads annotated footage: which frames of a film make up which scene, and what is seen in them.

A scene file is JSON that stands next to a film. It is read into a checked `SceneFile`, whose scenes hold the same
`Script` that a director writes, so that training and sampling read prompts in one way. The film itself is not opened
here: `check_ranges` compares the annotation with its length once that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lct_jax.directing.script import (
    Field,
    Script,
    ShotPrompt,
    read_characters,
    read_global,
    read_json,
    read_prompt,
    suggest,
)
from lct_jax.errors import InputError

SCENE_FORMAT = "lct_jax.scenes/1"
SPLITS = ("train", "held_out")
# This stands for the credit or the licence of footage for which none is given.
UNKNOWN = "unknown"


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
    """Is a half-open range [start, end) of decoded frame numbers; the film starts at frame 0."""

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
    """Reads and checks annotated footage.

    The file is `{"format": "lct_jax.scenes/1", "film": {"file", "title", "credit", "licence",
    "fps"}, "cast": {"1": "..."}, "scenes": [{"id", "split", "characters": ["1"], "environment",
    "story", "shots": [{"frames": [start, end], "cut": true, "prompt": "..."}]}]}`; `cut` alone may
    be left out (true). A scene's `characters` may also be `{"1": "..."}`: descriptions of its own.

    Raises:
      InputError: names the file and the field, such as `scenes[0].shots[2].frames`.
    """
    top = read_json(path, SCENE_FORMAT, ("film", "cast", "scenes"))
    film = _read_film(top["film"], Path(path).parent)
    cast = read_characters(top["cast"])
    fields = top["scenes"].items()
    scenes = tuple(_read_scene(field, cast) for field in fields)
    if not scenes:
        top["scenes"].refuse("is empty, expected at least one scene")
    for i, (field, scene) in enumerate(zip(fields, scenes, strict=True)):
        for other in scenes[:i]:
            _compare_scenes(field, scene, other)
    return SceneFile(film=film, scenes=scenes)


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


def _read_film(field: Field, folder: Path) -> Film:
    fields = field.keys(("file", "title", "credit", "licence", "fps"))
    rate = fields["fps"]
    fps = float(rate.value) if type(rate.value) is int else rate.of(float)
    if not 0 < fps < float("inf"):
        rate.refuse(f"found {fps}, expected a number above 0")
    texts = {key: _read_name(fields[key]) for key in ("file", "title", "credit", "licence")}
    return Film(**{**texts, "file": str(folder / texts["file"])}, fps=fps)


def _read_scene(field: Field, cast: dict[str, str]) -> AnnotatedScene:
    fields = field.keys(("id", "split", "characters", "environment", "story", "shots"))
    if fields["split"].value not in SPLITS:
        fields["split"].refuse(f"found {fields['split'].value!r}, expected {' or '.join(SPLITS)}")
    own = isinstance(fields["characters"].value, dict)
    characters = (
        read_characters(fields["characters"]) if own else _read_listed(fields["characters"], cast)
    )
    shots = fields["shots"].items()
    if not shots:
        fields["shots"].refuse("is empty, expected at least one shot")
    prompts, ranges = [], []
    for shot in shots:
        parts = shot.keys(("frames", "prompt"), ("cut",))
        cut = parts["cut"].of(bool) if "cut" in parts else True
        prompts.append(ShotPrompt(text=read_prompt(parts["prompt"], characters), cut=cut))
        ranges.append(_read_range(parts["frames"], after=ranges[-1].end if ranges else 0))
        if not cut and len(ranges) > 1 and ranges[-1].start != ranges[-2].end:
            parts["frames"].refuse(
                f"starts at {ranges[-1].start}, expected {ranges[-2].end}, where the last shot ends: cut is false"
            )
    return AnnotatedScene(
        id=_read_name(fields["id"]),
        split=fields["split"].of(str),
        script=Script(prompt=read_global(fields, characters), shots=tuple(prompts)),
        ranges=tuple(ranges),
    )


def _read_listed(field: Field, cast: dict[str, str]) -> dict[str, str]:
    listed: dict[str, str] = {}
    for item in field.items():
        name = item.of(str)
        if name not in cast:
            item.refuse(f"{name!r} is not in the cast, {suggest(name, cast)}")
        if name in listed:
            item.refuse(f"{name!r} is listed twice")
        listed[name] = cast[name]
    return listed


def _read_range(field: Field, after: int) -> FrameRange:
    bounds = [item.of(int) for item in field.items()]
    if len(bounds) != 2:
        field.refuse(f"found {len(bounds)} numbers, expected [start, end]")
    start, end = bounds
    if start < 0 or start >= end:
        field.refuse(
            f"found {bounds}, expected 0 <= start < end (end is the first frame not in it)"
        )
    if start < after:
        field.refuse(
            f"found {bounds}, expected a start at or after {after}, where the last shot ends"
        )
    return FrameRange(start, end)


def _read_name(field: Field) -> str:
    text = field.of(str).strip()
    if not text:
        field.refuse("is empty")
    return text


def _compare_scenes(field: Field, scene: AnnotatedScene, other: AnnotatedScene) -> None:
    if scene.id == other.id:
        field.refuse(f"the id {scene.id!r} is taken by an earlier scene")
    # Otherwise frames of the training split would be scored as held out; within one split scenes may share frames.
    shared = any(a.overlaps(b) for a in scene.ranges for b in other.ranges)
    if shared and scene.split != other.split:
        field.refuse(f"{scene.split} shares frames with scene {other.id!r}, which is {other.split}")
