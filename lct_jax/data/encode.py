"""Encodes a source of scenes into a shard of records, one shot in memory at a time.

An `EncodeJob` states everything that the records depend on, and the name of the shard is a hash of just that: if the
shard exists, it is the one that would be made. Every shot is encoded on its own; a set of pixels keeps shots as they
are, to be encoded later.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import import_codec
from lct_jax.config import Config, PrepareConfig
from lct_jax.data.footage.text_limits import open_fitting
from lct_jax.data.sets.set_info import FORMAT
from lct_jax.data.sets.shard_check import find_damage
from lct_jax.data.sets.shards import SceneRecord, ShotRecord, write_shard
from lct_jax.data.sources import RawScene, RawShot, Source
from lct_jax.encoders.protocol import TextEncoder
from lct_jax.encoders.registry import make_encoder
from lct_jax.errors import InputError
from lct_jax.files import hash_of

# The version of the rules that choose the frames of a shot and of a clip; a new version makes every shard again.
RULES = 3


@dataclass(frozen=True)
class EncodeJob:
    """Describes records to make: from a scene file or a shard of pixels, of which film, into which set, with which
    codec.

    Attributes:
        codec: its weights; None keeps pixels. codec_key: what those of codec and encoder depend on.
    """

    source: Path
    film: str
    out: Path
    config: Config
    codec: Path | None
    codec_key: str


def encode_film(job: EncodeJob) -> str:
    """Writes the shard of a film, unless it exists and is whole; returns its name.

    Raises:
        InputError: a film that cannot be read, a shot past its end, a shape over the limits, or no text that fits.
    """
    config, source = job.config, open_fitting(job.source, job.config)
    name = name_shard(job, source)
    folder = job.out / "shards" / name
    if folder.is_dir() and find_damage(folder) is None:
        return name
    size, error = source.size()
    scenes = _show(source, job.film)
    if job.codec is None:
        records, empty = map(keep_scene, scenes), 0
    else:
        prepare = config.prepare
        codec = import_codec(prepare.codec, job.codec, channels=config.backbone.channels)
        encoder = load_encoder(prepare.encoder, config.backbone.text_width, prepare.encoder_from)
        records = _encode(scenes, prepare, codec, encoder)
        empty = len(encoder.encode([""])[0])
    write_shard(
        folder,
        records,
        empty=empty,
        film=job.film,
        credit=source.credit,
        size=size,
        aspect_error=error,
    )
    return name


def _show(source: Source, film: str) -> Iterator[RawScene]:
    """Returns the scenes of a film with a bar, which worker processes leave out: many films would share one screen."""
    hidden = None if multiprocessing.parent_process() is None else True
    scenes = source.scenes()
    return iter(tqdm(scenes, film, total=source.count, unit="scene", leave=False, disable=hidden))


def name_shard(job: EncodeJob, source: Source) -> str:
    """Returns a hash of everything that the records of a film depend on."""
    backbone = job.config.backbone
    anywhere = dataclasses.replace(job.config.prepare, codec_from="", encoder_from="")
    prepare = dataclasses.asdict(anywhere)
    widths = [backbone.channels, backbone.text_width, backbone.patch]
    return hash_of(FORMAT, RULES, job.film, source.content, prepare, widths, job.codec_key)


@functools.cache
def load_encoder(name: str, width: int, folder: str) -> TextEncoder:
    """Returns the text encoder of this process, which is loaded once."""
    return make_encoder(name, width=width, folder=folder)


def clip_starts(frames: int, *, length: int, clips: int) -> list[int]:
    """Returns where the clips of a shot begin: evenly spaced, the first at the cut, the last ending with the shot."""
    return sorted({int(start) for start in np.linspace(0, frames - length, clips)})


def choose_clips(shot: RawShot, *, length: int, clips: int) -> list[int]:
    """Returns where the clips of a shot begin, so that shots joined without a cut can be shown without a gap.

    A shot that is followed without a cut has a clip that ends with it, its last one; a shot that continues another has
    a clip that begins with it, its first one. A shot that does both and is longer than a clip has at least two clips.
    """
    frames = len(shot.frames)
    if clips == 1 and shot.followed and not shot.joined:
        return [frames - length]
    least = 2 if shot.followed and shot.joined else 1
    return clip_starts(frames, length=length, clips=max(clips, least))


def fitting_length(frames: int, *, longest: int) -> int:
    """Returns the longest 4n + 1 that exceeds neither the shot nor the limit."""
    return (min(frames, longest) - 1) // 4 * 4 + 1


def _encode(
    scenes: Iterator[RawScene], config: PrepareConfig, codec: VideoCodec, encoder: TextEncoder
) -> Iterator[SceneRecord]:
    for scene in scenes:
        where = f"scene {scene.name!r}"
        shots = (
            _encode_shot(
                shot,
                _encode_text(encoder, shot.text, f"{where}: shots[{i}]"),
                config,
                codec,
                alone=_encode_text(encoder, shot.alone, where) if shot.alone else None,
            )
            for i, shot in enumerate(scene.shots)
        )
        full, brief = (_encode_text(encoder, text, where) for text in (scene.full, scene.brief))
        yield SceneRecord(scene.name, scene.split, full, brief, scene.full, scene.brief, shots)


def _encode_text(encoder: TextEncoder, text: str, where: str) -> np.ndarray:
    try:
        return _encode_once(encoder, text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


@functools.lru_cache(maxsize=2048)
def _encode_once(encoder: TextEncoder, text: str) -> np.ndarray:
    """Returns the encoding of a text that many shots share, such as the empty one, and encodes it once."""
    return encoder.encode([text])[0]


def _encode_shot(
    shot: RawShot,
    prompt: np.ndarray,
    config: PrepareConfig,
    codec: VideoCodec,
    *,
    alone: np.ndarray | None,
) -> ShotRecord:
    frames = shot.frames
    length = fitting_length(len(frames), longest=config.max_frames)
    starts = choose_clips(shot, length=length, clips=config.clips)
    stills = clip_starts(len(frames), length=1, clips=config.stills)
    return ShotRecord(
        clips=tuple(codec.encode(frames[start : start + length]) for start in starts),
        stills=tuple(codec.encode(frames[start : start + 1]) for start in stills),
        prompt=prompt,
        text=shot.text,
        frames=len(frames),
        alone=alone,
        alone_text=shot.alone,
    )


def keep_scene(scene: RawScene) -> SceneRecord:
    """Returns a scene that keeps its pixels as a clip and its texts without tokens."""
    nothing = np.zeros((0, 0), np.float32)
    shots = (
        ShotRecord((s.frames,), (), nothing, s.text, len(s.frames), alone_text=s.alone)
        for s in scene.shots
    )
    return SceneRecord(scene.name, scene.split, nothing, nothing, scene.full, scene.brief, shots)
