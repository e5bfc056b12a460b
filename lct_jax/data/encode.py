"""A film with its scene file to a shard of records, one shot in memory at a time.

Enters: an `EncodeJob`, which says everything the records depend on. Leaves: a shard under the set's folder, whose name
is a hash of just that: a shard that is there is the one that would be made. Every shot is resized to the configured
area at its own aspect ratio and encoded on its own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lct_jax.codecs.patch import STRIDE
from lct_jax.codecs.protocols import TextEncoder, VideoCodec
from lct_jax.codecs.registry import load_codec, make_encoder
from lct_jax.codecs.safetensors_io import hash_file
from lct_jax.config import Config, PrepareConfig
from lct_jax.data.card import FORMAT
from lct_jax.data.scene_file import (
    AnnotatedScene,
    FrameRange,
    SceneFile,
    check_ranges,
    load_scene_file,
)
from lct_jax.data.shards import SceneRecord, ShotRecord, write_shard
from lct_jax.errors import InputError
from lct_jax.footage import aspect_error, fit_size, iter_at_rate, read_shape
from lct_jax.media import resize
from lct_jax.script import render_global, render_shot


@dataclass(frozen=True)
class EncodeJob:
    """Records to be made: of which film, by which scene file, into which set, with which codec (a file)."""

    scenes: Path
    film: str
    out: Path
    config: Config
    codec: Path
    codec_key: str


@dataclass(frozen=True)
class Footage:
    """The frames of one annotated shot: uint8 [frames, height, width, 3]."""

    scene: AnnotatedScene
    shot: int
    frames: np.ndarray


def encode_film(job: EncodeJob) -> str:
    """Writes the shard of a film, unless it is there; returns its name.

    Raises:
        InputError: a film that cannot be read, a shot past its end, a shape that cannot be kept, a text over its limit.
    """
    config, annotated = job.config, load_scene_file(job.scenes)
    name = name_shard(job, annotated)
    folder = job.out / "shards" / name
    if folder.is_dir():
        return name
    codec = load_codec(job.codec, channels=config.model.channels)
    encoder = load_encoder(config.prepare.encoder, config.model.text_width)
    size, error = choose_size(annotated.film.file, config, stride=codec.stride)
    write_shard(
        folder,
        _encode(annotated, config.prepare, codec, encoder, size=size),
        empty=len(encoder.encode([""])[0]),
        film=job.film,
        credit=annotated.film.owed,
        size=size,
        aspect_error=error,
    )
    return name


def name_shard(job: EncodeJob, annotated: SceneFile) -> str:
    """A hash of all that the records of a film depend on."""
    config = job.config
    return hash_of(
        FORMAT,
        job.film,
        describe_film(annotated),
        dataclasses.asdict(dataclasses.replace(config.prepare, codec_from="")),
        [config.model.channels, config.model.text_width, config.model.patch],
        job.codec_key,
    )


def describe_film(annotated: SceneFile) -> list[object]:
    """What is in a film and said of it, wherever it lies."""
    film = annotated.film
    about = dataclasses.asdict(
        dataclasses.replace(annotated, film=dataclasses.replace(film, file=""))
    )
    return [hash_file(film.file), about]


def hash_of(*values: object) -> str:
    """16 hex digits of what is JSON in the same way every time."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def load_encoder(name: str, width: int) -> TextEncoder:
    """The text encoder of this process."""
    return make_encoder(name, width=width)


def choose_size(
    film: str | Path, config: Config, *, stride: tuple[int, int, int] = STRIDE
) -> tuple[tuple[int, int], float]:
    """Height and width of a film's frames in a set, and the stretch; InputError where that is over the limit."""
    prepare, patch, shape = config.prepare, config.model.patch, read_shape(film)
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


def clip_starts(frames: int, *, length: int, clips: int) -> list[int]:
    """Where the clips of a shot begin: evenly spaced, the first at the cut, the last ending with the shot."""
    return sorted({int(start) for start in np.linspace(0, frames - length, clips)})


def fitting_length(frames: int, *, longest: int) -> int:
    """The longest 4n + 1 that neither the shot nor the limit exceeds."""
    return (min(frames, longest) - 1) // 4 * 4 + 1


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


def _encode(
    annotated: SceneFile,
    config: PrepareConfig,
    codec: VideoCodec,
    encoder: TextEncoder,
    *,
    size: tuple[int, int],
) -> Iterator[SceneRecord]:
    """Records of scenes in the order of the file; shots are encoded in the order of the film."""
    footage = iter_footage(annotated, fps=config.fps, size=size)
    waiting: dict[tuple[str, int], ShotRecord] = {}

    def take(scene: AnnotatedScene, shot: int) -> ShotRecord:
        while (scene.id, shot) not in waiting:
            part = next(footage)
            text = render_shot(part.scene.script.shots[part.shot])
            prompt = _encode_text(encoder, text, f"scene {part.scene.id!r}: shots[{part.shot}]")
            waiting[part.scene.id, part.shot] = _encode_shot(
                part.frames, prompt, text, config, codec
            )
        return waiting.pop((scene.id, shot))

    for scene in annotated.scenes:
        full, brief = (_render_scene(scene, story=story) for story in (True, False))
        yield SceneRecord(
            name=scene.id,
            split=scene.split,
            full=_encode_text(encoder, full, f"scene {scene.id!r}"),
            brief=_encode_text(encoder, brief, f"scene {scene.id!r}"),
            full_text=full,
            brief_text=brief,
            shots=(take(scene, shot) for shot in range(len(scene.ranges))),
        )


def _encode_text(encoder: TextEncoder, text: str, where: str) -> np.ndarray:
    try:
        return encoder.encode([text])[0]
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _render_scene(scene: AnnotatedScene, *, story: bool) -> str:
    """Text of the global prompt; a scene of which nothing is written has the empty one."""
    prompt = scene.script.prompt
    return "" if prompt is None else render_global(prompt, story=story)


def _encode_shot(
    frames: np.ndarray, prompt: np.ndarray, text: str, config: PrepareConfig, codec: VideoCodec
) -> ShotRecord:
    length = fitting_length(len(frames), longest=config.max_frames)
    starts = clip_starts(len(frames), length=length, clips=config.clips)
    stills = clip_starts(len(frames), length=1, clips=config.stills)
    return ShotRecord(
        clips=tuple(codec.encode(frames[start : start + length]) for start in starts),
        stills=tuple(codec.encode(frames[start : start + 1]) for start in stills),
        prompt=prompt,
        text=text,
        frames=len(frames),
    )
