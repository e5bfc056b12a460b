"""Where scenes to be encoded come from: a film with its scene file, or a set of raw pixels made from one before.

Either enters as a path; a `Source` leaves, which yields scenes with their texts and their frames, one shot in memory
at a time (shots that overlap apart). A set of pixels holds all that a codec and a text encoder are given, so that both
can be changed when the films are no longer there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from safetensors.numpy import load

from lct_jax.codecs.registry import find_stride
from lct_jax.config import Config
from lct_jax.data.scene_file import (
    AnnotatedScene,
    FrameRange,
    SceneFile,
    check_ranges,
    load_scene_file,
)
from lct_jax.data.sets.lengths import SPLITS, LengthTable
from lct_jax.data.sets.shards import KINDS, read_about
from lct_jax.directing.script import render_global, render_shot
from lct_jax.errors import InputError
from lct_jax.media.frames import aspect_error, fit_size, iter_at_rate, read_shape
from lct_jax.media.video import resize
from lct_jax.tensors import hash_file


@dataclass(frozen=True)
class RawShot:
    """A shot before any encoding: its text, and its frames uint8 [frames, height, width, 3]."""

    text: str
    frames: np.ndarray


@dataclass(frozen=True)
class RawScene:
    """A scene before any encoding: name, split, global prompt with and without the story, shots to be read once."""

    name: str
    split: str
    full: str
    brief: str
    shots: Iterable[RawShot]


@dataclass(frozen=True)
class Source:
    """Scenes of one film.

    Attributes:
        content: what they depend on, as JSON. owed: credit line.
        size: gives height and width of the frames, and the stretch. scenes: gives them, in order of the film.
    """

    content: object
    owed: str
    size: Callable[[], tuple[tuple[int, int], float]]
    scenes: Callable[[], Iterator[RawScene]]


@dataclass(frozen=True)
class Footage:
    """The frames of one annotated shot: uint8 [frames, height, width, 3]."""

    scene: AnnotatedScene
    shot: int
    frames: np.ndarray


def open_source(path: Path, config: Config) -> Source:
    """The source in a scene file, or in the folder of a shard of pixels; raises InputError where it is damaged."""
    if path.is_dir():
        return _open_pixels(path)
    annotated = load_scene_file(path)
    size = lambda: choose_size(annotated.film.file, config)
    about = dataclasses.replace(annotated, film=dataclasses.replace(annotated.film, file=""))
    return Source(
        content=[hash_file(annotated.film.file), dataclasses.asdict(about)],
        owed=annotated.film.owed,
        size=size,
        scenes=lambda: _iter_film(annotated, fps=config.prepare.fps, size=size()[0]),
    )


def hash_of(*values: object) -> str:
    """16 hex digits of what is JSON in the same way every time."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose_size(film: str | Path, config: Config) -> tuple[tuple[int, int], float]:
    """Height and width of a film's frames in a set, and the stretch; InputError where that is over the limit."""
    prepare, patch, shape = config.prepare, config.backbone.patch, read_shape(film)
    stride = find_stride(prepare.codec)
    multiple = (stride[1] * patch[1], stride[2] * patch[2])
    size = fit_size(
        shape.height, shape.width, area=prepare.height * prepare.width, multiple=multiple
    )
    error = aspect_error(shape, size)
    if error > prepare.aspect_error:
        raise InputError(
            f"{film}: {shape.width}x{shape.height} would become {size[1]}x{size[0]}, stretched by {error:.0%},"
            f" expected at most {prepare.aspect_error:.0%} (prepare.aspect_error, or a larger area)"
        )
    return size, error


def iter_footage(annotated: SceneFile, *, fps: float, size: tuple[int, int]) -> Iterator[Footage]:
    """Yields shots in the order of the film, resized; one decode pass, one shot in memory at a time."""
    annotated = _at_rate(annotated, fps)
    places = [(r, s, i) for s in annotated.scenes for i, r in enumerate(s.ranges)]
    places.sort(key=lambda place: place[0].start)
    number, frame_at, kept = 0, iter_at_rate(annotated.film.file, fps), []
    for frames, scene, shot in places:
        kept = kept[len(kept) - max(number - frames.start, 0) :]  # shots of a split may overlap
        while number < frames.end:
            frame = next(frame_at, None)
            if frame is None:
                check_ranges(annotated, number)
            if number >= frames.start:
                kept.append(resize(frame, *size))
            number += 1
        yield Footage(scene, shot, np.stack(kept[: len(frames)]))


def _iter_film(annotated: SceneFile, *, fps: float, size: tuple[int, int]) -> Iterator[RawScene]:
    footage = iter_footage(annotated, fps=fps, size=size)
    waiting: dict[tuple[str, int], np.ndarray] = {}

    def take(scene: AnnotatedScene, shot: int) -> RawShot:
        while (scene.id, shot) not in waiting:
            part = next(footage)
            waiting[part.scene.id, part.shot] = part.frames
        text = render_shot(scene.script.shots[shot])
        return RawShot(text, waiting.pop((scene.id, shot)))

    for scene in sorted(annotated.scenes, key=lambda scene: scene.ranges[0].start):
        shots = (take(scene, shot) for shot in range(len(scene.ranges)))
        full, brief = (_render_scene(scene, story=story) for story in (True, False))
        yield RawScene(scene.id, scene.split, full, brief, shots)


def _render_scene(scene: AnnotatedScene, *, story: bool) -> str:
    """Text of the global prompt; a scene of which nothing is written has the empty one."""
    prompt = scene.script.prompt
    return "" if prompt is None else render_global(prompt, story=story)


def _at_rate(annotated: SceneFile, fps: float) -> SceneFile:
    """A scene file whose ranges count frames at another rate; none becomes empty."""
    factor = fps / annotated.film.fps
    if factor == 1:
        return annotated

    def convert(frames: FrameRange) -> FrameRange:
        start = round(frames.start * factor)
        return FrameRange(start, max(start + 1, round(frames.end * factor)))

    scenes = tuple(
        dataclasses.replace(scene, ranges=tuple(map(convert, scene.ranges)))
        for scene in annotated.scenes
    )
    return dataclasses.replace(annotated, scenes=scenes)


def _open_pixels(folder: Path) -> Source:
    about = read_about(folder)
    return Source(
        content=[hash_file(folder / f"{kind}.array_record") for kind in KINDS],
        owed=about.credit,
        size=lambda: (tuple(about.size), about.aspect_error),
        scenes=lambda: _iter_pixels(folder),
    )


def _iter_pixels(folder: Path) -> Iterator[RawScene]:
    shots, scenes = (ArrayRecordReader(str(folder / f"{kind}.array_record")) for kind in KINDS)
    lengths, names = LengthTable.load(folder / "lengths.safetensors"), read_about(folder).scenes
    text = lambda record, name: record[name].tobytes().decode()

    def take(number: int) -> RawShot:
        record = load(shots.read([number])[0])
        return RawShot(text(record, "text"), record["clip_0"])

    for number, name in enumerate(names):
        record = load(scenes.read([number])[0])
        split = SPLITS[lengths.scene_split[number]]
        inside = (take(shot) for shot in lengths.shots_of(number))
        yield RawScene(name, split, text(record, "full_text"), text(record, "brief_text"), inside)
