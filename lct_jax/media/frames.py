"""Footage on one clock: any video as frames at a fixed rate, by its timestamps, and sizes of one pixel area.

Enters: a video file of constant or variable rate, any shape, rotated or not. Leaves: upright RGB frames, `fps` of them
a second, so that frame n of what leaves is what a viewer sees at n / fps (`frame_rate.py` says when exactly). Captions,
records and given videos all count in these frames; a video whose own rate is `fps` passes through frame by frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from lct_jax.media.frame_rate import first_frame, read_rate, snap_time
from lct_jax.media.video import decode_frames, probe_video, to_rgb

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".wmv",
    ".flv",
    ".ogv",
)


@dataclass(frozen=True)
class Shape:
    """Upright height and width in pixels that are square (the width is that of display)."""

    height: int
    width: int


class Seen(NamedTuple):
    """A frame of a video, when it begins (seconds from the first one), and how many frames at a rate show it."""

    frame: av.VideoFrame
    start: Fraction
    shown: int


def iter_at_rate(path: str | Path, fps: float) -> Iterator[np.ndarray]:
    """Yields upright uint8 RGB frames [X, Y, 3]: frame n is shown at n / fps seconds, at least one frame.

    Frames are repeated or left out as timestamps ask; only those that are yielded are converted.

    Raises:
        InputError: as `lct_jax.media.video.iter_frames`.
    """
    for seen in iter_seen(path, fps):
        if seen.shown:
            yield from itertools.repeat(to_rgb(seen.frame), seen.shown)


def iter_seen(path: str | Path, fps: float) -> Iterator[Seen]:
    """Yields every frame of a video, with the number of frames at `fps` that show it (0 or more); errors as above."""
    rate, number, held, end = read_rate(fps), 0, None, Fraction(0)
    for frame, start, end in _iter_timed(path):  # noqa: B007 (the last end closes the video)
        if held is not None:
            upto = max(first_frame(start, rate), number)
            yield Seen(*held, upto - number)
            number = upto
        held = frame, start
    yield Seen(*held, max(first_frame(end, rate), number, 1) - number)


def read_own_rate(path: str | Path) -> Fraction:
    """Returns the frames a second of a video as it declares them; errors as `lct_jax.media.video.probe_video`."""
    return read_rate(probe_video(path).fps)


def read_shape(path: str | Path) -> Shape:
    """Shape of the first frame as displayed; errors as `iter_at_rate`."""
    frames = decode_frames(path)
    frame = next(frames)
    frames.close()
    width = round(frame.width * probe_video(path).pixel_aspect)
    upright = round(frame.rotation / 90) % 2 == 0
    return Shape(frame.height, width) if upright else Shape(width, frame.height)


def fit_size(height: int, width: int, *, area: int, multiple: tuple[int, int]) -> tuple[int, int]:
    """Height and width of about `area` pixels in the aspect ratio given, each a multiple; nothing is cropped."""
    scale = (area / (height * width)) ** 0.5
    fit = lambda side, step: max(step, round(side * scale / step) * step)
    return fit(height, multiple[0]), fit(width, multiple[1])


def aspect_error(shape: Shape, size: tuple[int, int]) -> float:
    """How far rounding stretches a picture: the larger aspect ratio over the smaller, minus one."""
    ratio = shape.width * size[0] / (shape.height * size[1])
    return max(ratio, 1 / ratio) - 1


def _iter_timed(path: str | Path) -> Iterator[tuple[av.VideoFrame, Fraction, Fraction]]:
    """Frames with the seconds from the first at which each begins and ends; time never goes back."""
    rate, first, start, length = read_own_rate(path), None, Fraction(0), Fraction(0)
    for frame in decode_frames(path):
        if frame.pts is not None and frame.time_base:
            time, tick = frame.pts * frame.time_base, frame.time_base
            first = time if first is None else first
            begin = max(snap_time(time - first, rate=rate, tick=tick), start)
        else:
            begin, tick = start + length, Fraction(0)  # no timestamp: right behind the frame before
        if frame.duration and frame.time_base:
            length = frame.duration * frame.time_base
        elif begin > start:
            length = begin - start
        start = begin
        yield frame, start, snap_time(start + length, rate=rate, tick=tick)
