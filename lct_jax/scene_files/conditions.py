"""Reads what a script gives to sampling, images, videos and latents, and decides the size of every shot.

A whole shot may be given, or the first or the last frames of one. Pictures keep their aspect ratio at the pixel area of
the sampling config; nothing is cropped or padded, and what is transparent is shown over white. The causal codecs encode
the first frame of a clip alone and then four frames at a time, so first frames are 4n + 1, and last frames are 4n,
encoded behind a frame that is left out again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.config import SamplingConfig
from lct_jax.directing.condition_files import LATENTS
from lct_jax.directing.prompts import Condition, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.directing.script_fields import check_frames, read_aspect
from lct_jax.errors import InputError
from lct_jax.media.frames import VIDEO_SUFFIXES, Shape, aspect_error, fit_size, iter_at_rate
from lct_jax.media.images import read_moments
from lct_jax.media.video import resize
from lct_jax.sampling.request import HeldLatent, ShotLatents
from lct_jax.tensors import list_names, load_tensors_of

# The largest stretch of a picture that must take the size of another one, as in preparation.
_STRETCH = 0.1

# Names a field of a shot in every complaint of its block.
At = Callable[..., AbstractContextManager[None]]


@dataclass(frozen=True)
class Given:
    """A given shot as its frames, uint8 [T, height, width, 3], its latent, float32 [T X Y c], and its time.

    `time` is None where the sampler's is meant.
    """

    frames: np.ndarray
    latent: np.ndarray
    time: float | None = None


class Conditions(NamedTuple):
    """What is given to a scene.

    Attributes:
        given: whole shots by number from 0.
        shots: the size of every shot and what of it is known, as the sampler takes it.
    """

    given: dict[int, Given]
    shots: tuple[ShotLatents, ...]


class _Size(NamedTuple):
    height: int
    width: int


class ConditionReader:
    """Reads the conditions of scripts for one model.

    Args:
        codec: the video codec.
        sampling: the config's sampling section.
        multiple: what frames - 1, height and width must be multiples of, from codec and patch.
        fps: frames a second, at which videos are read by their timestamps.
    """

    def __init__(
        self,
        *,
        codec: VideoCodec,
        sampling: SamplingConfig,
        multiple: tuple[int, int, int],
        fps: float,
    ) -> None:
        self.codec, self.sampling, self.multiple, self.fps = codec, sampling, multiple, fps

    def read(self, script: Script, *, pictures: dict[int, np.ndarray] | None = None) -> Conditions:
        """Returns the conditions of a script.

        Args:
            pictures: uint8 [T, height, width, 3] of given shots, by number from 0, in place of the files that the
                script gives.

        Raises:
            InputError: a file cannot be read as what its name says, or a size cannot be divided by codec and patch.
        """
        given: dict[int, Given] = {}
        known: list[ShotLatents] = []
        shots = script.list_shots()
        for number, shot in enumerate(shots):
            if pictures is not None and number in pictures:
                given[number] = encode_given(pictures[number], codec=self.codec)
            elif pictures is None and shot.given is not None:
                with script.at(number, *(["given"] if number < len(script.shots) else [])):
                    given[number] = self._read_given(shots, number)
            if number not in given:
                known.append(self._read_shot(script, number, known))
                continue
            whole = given[number]
            with script.at(number):
                grid = self._check_patch(whole.latent.shape[:3])
            known.append(ShotLatents(grid, whole.latent, whole.time))
        return Conditions(given, tuple(known))

    def _read_given(self, shots: Sequence[ShotPrompt], number: int) -> Given:
        """Returns a given shot: of a longer video its first frames, or the last ones where the next shot goes on."""
        condition = shots[number].given
        path = Path(condition.file)
        if path.suffix == LATENTS:
            latent = self._read_latent(path, condition.tensor, number)
            return Given(self.codec.decode(latent), latent, condition.time)
        at_end = any(not after.cut for after in shots[number + 1 : number + 2])
        longest = shots[number].frames or self.sampling.frames
        frames = self._read_frames(path, longest, at_end=at_end)
        frames = resize(frames, *self._fit(*frames.shape[1:3]))
        count = (len(frames) - 1) // self.multiple[0] * self.multiple[0] + 1
        frames = frames[-count:] if at_end else frames[:count]
        made = encode_given(frames, codec=self.codec)
        return Given(made.frames, made.latent, condition.time)

    def _read_shot(self, script: Script, number: int, before: Sequence[ShotLatents]) -> ShotLatents:
        shot, held = script.shots[number], []
        at = lambda *names: script.at(number, *names)
        with at("seconds"):
            frames = self._count_frames(shot)
        pictures = {}
        for name in ("first", "last"):
            if (condition := getattr(shot, name)) is not None:
                with at(name):
                    pictures[name] = self._read_edge(condition, first=name == "first")
        size = self._choose_size(at, shot, pictures, before)
        grid = (
            (frames - 1) // self.codec.stride[0] + 1,
            size[0] // self.codec.stride[1] * shot.panels,
            size[1] // self.codec.stride[2],
        )
        for name, picture in pictures.items():
            with at(name):
                held.append(self._hold_edge(getattr(shot, name), picture, size, grid, name))
        overlap = shot.overlap and (shot.overlap - 1) // self.codec.stride[0] + 1
        with at():
            taken = overlap + sum(len(edge.latent) for edge in held) + bool(shot.begins)
            if taken >= grid[0]:
                raise InputError(
                    f"found {frames} frames, of which {taken} of {grid[0]} latent frames are held, "
                    "expected some to generate"
                )
            return ShotLatents(self._check_patch(grid), held=tuple(held), overlap=overlap)

    def _count_frames(self, shot: ShotPrompt) -> int:
        if shot.seconds is None:
            return shot.frames or self.sampling.frames
        # So many are refused, and no integer is made of more.
        frames = min(shot.seconds * self.fps, 1e9)
        count = max(0, round((frames - 1) / self.multiple[0]))
        return check_frames(count * self.multiple[0] + 1)

    def _choose_size(
        self,
        at: At,
        shot: ShotPrompt,
        pictures: dict[str, np.ndarray],
        before: Sequence[ShotLatents],
    ) -> _Size:
        """Returns height and width: those of pictures or the shot before, of the script, or of the config."""
        for picture in pictures.values():
            return self._fit(*picture.shape[1:3])
        if shot.overlap:
            rows, columns = before[-1].grid[1:]
            return _Size(rows * self.codec.stride[1], columns * self.codec.stride[2])
        if shot.aspect:
            return self._fit(1.0, read_aspect(shot.aspect))
        size = shot.size or (self.sampling.height, self.sampling.width)
        for name, side, step in zip(("height", "width"), size, self.multiple[1:], strict=True):
            if side % step:
                complaint = f"found {side}, expected a multiple of {step}"
                if shot.size is None:
                    raise InputError(f"sampling.{name}: {complaint}")
                with at(name):
                    raise InputError(complaint)
        return _Size(*size)

    def _check_patch(self, grid: tuple[int, int, int]) -> tuple[int, int, int]:
        """Returns a latent grid; raises InputError where the network's patch does not divide it."""
        step = [m // s for m, s in zip(self.multiple, self.codec.stride, strict=True)]
        for axis, side, size in zip("TXY", grid, step, strict=True):
            if side % size:
                raise InputError(f"latent {axis} side: found {side}, expected a multiple of {size}")
        return tuple(grid)

    def _read_edge(self, condition: Condition, *, first: bool) -> np.ndarray:
        """Returns frames to hold: the last ones of a video before a shot, or the first ones of one behind it."""
        step = self.codec.stride[0]
        wanted = condition.frames or (1 if first else step)
        frames = self._read_frames(Path(condition.file), wanted, at_end=first)
        if len(frames) == 1:
            # A still picture stands as long as it is held.
            return np.repeat(frames, wanted, axis=0)
        if len(frames) < wanted:
            raise InputError(f"found a video of {len(frames)} frames, expected at least {wanted}")
        return frames

    def _hold_edge(
        self,
        condition: Condition,
        frames: np.ndarray,
        size: _Size,
        grid: tuple[int, ...],
        name: str,
    ) -> HeldLatent:
        height, width = frames.shape[1:3]
        if aspect_error(Shape(height, width), size) > _STRETCH:
            raise InputError(
                f"found {width}x{height}, expected about the shape of 'first', {size.width}x{size.height}"
            )
        frames = resize(frames, *size)
        if name == "first":
            return HeldLatent(0, self.codec.encode(frames), condition.time)
        latent = self.codec.encode(np.concatenate([frames[:1], frames]))[1:]
        return HeldLatent(grid[0] - len(latent), latent, condition.time)

    def _read_frames(self, path: Path, longest: int, *, at_end: bool) -> np.ndarray:
        """Returns at most so many frames of an image, or of a video or an animated image: uint8 [T, X, Y, 3]."""
        if path.suffix.lower() in VIDEO_SUFFIXES:
            stream = iter_at_rate(path, self.fps)
            frames = deque(stream, maxlen=longest) if at_end else islice(stream, longest)
            return np.stack(list(frames))
        # Animated images are short: all of one is read.
        frames = read_moments(path, self.fps, longest=None if at_end else longest)
        return frames[-longest:]

    def _read_latent(self, path: Path, tensor: str, number: int) -> np.ndarray:
        names = list_names([path])
        name = tensor or f"shot_{number + 1:02d}"
        if not tensor and name not in names and len(names) == 1:
            name = names[0]
        if name not in names:
            known = f"one of {', '.join(names)}" if names else "a file with latents"
            raise InputError(f"{path}: found no tensor {name!r}, expected {known}")
        latent = load_tensors_of(path, [name])[name].astype(np.float32)
        if latent.ndim != 4 or latent.shape[-1] != self.codec.channels or not latent.size:
            raise InputError(
                f"{path}: {name}: found shape {latent.shape}, expected latents [T X Y "
                f"{self.codec.channels}]"
            )
        if not np.isfinite(latent).all():
            raise InputError(f"{path}: {name}: found NaN or infinity, expected finite latents")
        return latent

    def _fit(self, height: float, width: float) -> _Size:
        area = self.sampling.height * self.sampling.width
        return _Size(*fit_size(height, width, area=area, multiple=self.multiple[1:]))


def encode_given(frames: np.ndarray, *, codec: VideoCodec) -> Given:
    """Returns frames, uint8 [T, height, width, 3] of a size that the codec takes, as a given shot."""
    return Given(frames=frames, latent=codec.encode(frames))
