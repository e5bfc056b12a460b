"""Opens the source of scenes to encode: a film with its scene file, or a set of raw pixels that was made from one.

A path is opened as a `Source`, which yields scenes with their texts and their frames. One shot is in memory at a time,
except shots that overlap. A set of pixels holds everything that a codec and a text encoder read, so that both can be
changed when the films are no longer available.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from safetensors.numpy import load

from lct_jax.codecs.registry import find_stride
from lct_jax.config import Config, PrepareConfig
from lct_jax.data.scene_file import (
    AnnotatedScene,
    FrameRange,
    SceneFile,
    check_ranges,
    load_scene_file,
)
from lct_jax.data.sets.lengths import SPLITS, LengthTable
from lct_jax.data.sets.shards import KINDS, read_about
from lct_jax.directing.arrange import describe_alone
from lct_jax.directing.prompts import render_global, render_shot
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.files import hash_file
from lct_jax.media.frame_rate import count_frames, find_counted, read_rate
from lct_jax.media.frames import aspect_error, fit_size, iter_at_rate, read_own_rate, read_shape
from lct_jax.media.video import resize


@dataclass(frozen=True)
class RawShot:
    """A shot before any encoding.

    Attributes:
        text: its prompt. frames: uint8 [frames, height, width, 3].
        joined: whether it continues, without a cut, the shot before it in its scene. followed: whether the next shot
            continues it.
        alone: the caption of a scene of one shot that needs no global prompt, "" where the text itself needs none.
    """

    text: str
    frames: np.ndarray
    joined: bool = False
    followed: bool = False
    alone: str = ""


@dataclass(frozen=True)
class RawScene:
    """A scene before any encoding: name, split, global prompt with and without the story, and shots that can be read
    once."""

    name: str
    split: str
    full: str
    brief: str
    shots: Iterable[RawShot]


@dataclass(frozen=True)
class SceneTexts:
    """Holds the texts of a scene, as `RawScene` has them, without any frame."""

    name: str
    full: str
    brief: str
    shots: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Gives the scenes of one film.

    Attributes:
        content: everything that they depend on, as JSON. credit: the credit line.
        count: how many scenes there are, before any is left out.
        size: returns height and width of the frames, and the stretch. scenes: returns the scenes, in order of the film.
        texts: returns their texts alone, in any order.
    """

    content: object
    credit: str
    count: int
    size: Callable[[], tuple[tuple[int, int], float]]
    scenes: Callable[[], Iterator[RawScene]]
    texts: Callable[[], Iterator[SceneTexts]]


@dataclass(frozen=True)
class Footage:
    """Holds the frames of one annotated shot: uint8 [frames, height, width, 3]."""

    scene: AnnotatedScene
    shot: int
    frames: np.ndarray


def open_source(path: Path, config: Config) -> Source:
    """Returns the source in a scene file, or in the folder of a shard of pixels; raises InputError if it is damaged."""
    if path.is_dir():
        return _open_pixels(path)
    annotated = load_scene_file(path)
    size = lambda: choose_size(annotated.film.file, config)
    about = dataclasses.replace(annotated, film=dataclasses.replace(annotated.film, file=""))
    return Source(
        content=[hash_file(annotated.film.file), dataclasses.asdict(about)],
        credit=annotated.film.credit_line,
        count=len(annotated.scenes),
        size=size,
        scenes=lambda: _iter_film(annotated, config.prepare, size=size()[0]),
        texts=lambda: map(_render_texts, annotated.scenes),
    )


def choose_size(film: str | Path, config: Config) -> tuple[tuple[int, int], float]:
    """Returns height and width of a film's frames in a set, and the stretch; raises InputError if that is over the
    limit."""
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
    annotated = bring_to_rate(annotated, fps)
    places = [(r, s, i) for s in annotated.scenes for i, r in enumerate(s.ranges)]
    places.sort(key=lambda place: place[0].start)
    number, frame_at, kept = 0, iter_at_rate(annotated.film.file, fps), []
    for frames, scene, shot in places:
        # Shots of a split may overlap.
        kept = kept[len(kept) - max(number - frames.start, 0) :]
        while number < frames.end:
            frame = next(frame_at, None)
            if frame is None:
                check_ranges(annotated, number)
            if number >= frames.start:
                kept.append(resize(frame, *size))
            number += 1
        yield Footage(scene, shot, np.stack(kept[: len(frames)]))


def _iter_film(
    annotated: SceneFile, config: PrepareConfig, *, size: tuple[int, int]
) -> Iterator[RawScene]:
    annotated = align_shots(bring_to_rate(annotated, config.fps), longest=config.max_frames)
    footage = iter_footage(annotated, fps=config.fps, size=size)
    waiting: dict[tuple[str, int], np.ndarray] = {}

    def take(scene: AnnotatedScene, shot: int) -> RawShot:
        while (scene.id, shot) not in waiting:
            part = next(footage)
            waiting[part.scene.id, part.shot] = part.frames
        joined = [False, *(not other.cut for other in scene.script.shots[1:]), False]
        text = render_shot(scene.script.shots[shot])
        frames, alone = waiting.pop((scene.id, shot)), render_alone(scene.script)
        return RawShot(text, frames, joined[shot], joined[shot + 1], alone)

    for scene in sorted(annotated.scenes, key=lambda scene: scene.ranges[0].start):
        shots = (take(scene, shot) for shot in range(len(scene.ranges)))
        full, brief = (_render_scene(scene, story=story) for story in (True, False))
        yield RawScene(scene.id, scene.split, full, brief, shots)


def _render_texts(scene: AnnotatedScene) -> SceneTexts:
    full, brief = (_render_scene(scene, story=story) for story in (True, False))
    return SceneTexts(scene.id, full, brief, tuple(map(render_shot, scene.script.shots)))


def render_alone(script: Script) -> str:
    """Returns the caption of a scene of one shot as a single shot, which has no global prompt.

    It is that of `describe_alone`, and "" where the prompt names nobody or the scene has more shots.
    """
    shot = describe_alone(script) if len(script.shots) == 1 else None
    return "" if shot is None else render_shot(shot)


def _render_scene(scene: AnnotatedScene, *, story: bool) -> str:
    """Returns the text of the global prompt; a scene without any text has the empty one."""
    prompt = scene.script.prompt
    return "" if prompt is None else render_global(prompt, story=story)


def bring_to_rate(annotated: SceneFile, fps: float) -> SceneFile:
    """Returns a scene file whose ranges count frames at another rate; raises InputError where a shot has none."""
    film = annotated.film
    if fps == film.fps:
        return annotated
    counted = find_counted(film.fps, read_own_rate(film.file), fps=fps)

    def convert(scene: AnnotatedScene) -> AnnotatedScene:
        ranges = []
        for number, frames in enumerate(scene.ranges):
            found = count_frames(frames.start, frames.end, counted=counted, fps=read_rate(fps))
            if found[0] == found[1]:
                raise InputError(
                    f"{film.file}: scene {scene.id!r}: shots[{number}].frames: found"
                    f" [{frames.start}, {frames.end}] at {film.fps:g} fps, expected a shot in which a frame"
                    f" at prepare.fps {fps:g} is shown"
                )
            ranges.append(FrameRange(*found))
        return dataclasses.replace(scene, ranges=tuple(ranges))

    return SceneFile(dataclasses.replace(film, fps=fps), tuple(map(convert, annotated.scenes)))


def align_shots(annotated: SceneFile, *, longest: int) -> SceneFile:
    """Returns a scene file in which shots that are followed without a cut have 4n + 1 frames, where a clip holds them.

    The boundary to the next shot, at which nothing is seen to change, is moved by two frames at most: so one clip shows
    a shot from its beginning to where the next one continues.
    """

    def align(scene: AnnotatedScene) -> AnnotatedScene:
        ranges = list(scene.ranges)
        for number, shot in enumerate(scene.script.shots[1:]):
            here, behind = ranges[number : number + 2]
            length = min((len(here) + 1) // 4 * 4 + 1, longest)
            end = here.start + length
            if shot.cut or len(here) > longest + 2 or end >= behind.end:
                continue
            ranges[number], ranges[number + 1] = (
                FrameRange(here.start, end),
                FrameRange(end, behind.end),
            )
        return dataclasses.replace(scene, ranges=tuple(ranges))

    return dataclasses.replace(annotated, scenes=tuple(map(align, annotated.scenes)))


def _open_pixels(folder: Path) -> Source:
    about = read_about(folder)
    return Source(
        content=[hash_file(folder / f"{kind}.array_record") for kind in KINDS],
        credit=about.credit,
        count=len(about.scenes),
        size=lambda: (tuple(about.size), about.aspect_error),
        scenes=lambda: _iter_pixels(folder),
        texts=lambda: (
            SceneTexts(
                scene.name, scene.full, scene.brief, tuple(shot.text for shot in scene.shots)
            )
            for scene in _iter_pixels(folder)
        ),
    )


def _iter_pixels(folder: Path) -> Iterator[RawScene]:
    shots, scenes = (ArrayRecordReader(str(folder / f"{kind}.array_record")) for kind in KINDS)
    lengths, names = LengthTable.load(folder / "lengths.safetensors"), read_about(folder).scenes
    text = lambda record, name: record[name].tobytes().decode()
    first = set(lengths.scene_start.tolist())
    joined = {shot for shot in np.flatnonzero(lengths.shot_cut == 0).tolist() if shot not in first}

    def take(number: int) -> RawShot:
        record = load(shots.read([number])[0])
        alone = text(record, "alone_text") if "alone_text" in record else ""
        following = number + 1 in joined
        return RawShot(text(record, "text"), record["clip_0"], number in joined, following, alone)

    for number, name in enumerate(names):
        record = load(scenes.read([number])[0])
        split = SPLITS[lengths.scene_split[number]]
        inside = (take(shot) for shot in lengths.shots_of(number))
        yield RawScene(name, split, text(record, "full_text"), text(record, "brief_text"), inside)
