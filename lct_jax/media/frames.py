"""Footage on one clock: any video as frames at a fixed rate, by its timestamps, and sizes of one pixel area.

Enters: a video file of constant or variable rate, any shape, rotated or not. Leaves: upright RGB frames, `fps` of them
a second, so that frame n of what leaves is what a viewer sees at n / fps. Cuts, captions, records and given videos all
count in these frames; a video whose own rate is `fps` passes through frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

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
# A quarter of a frame later than n / fps: a frame shown just before that moment is seen, whatever rounding its
# timestamp went through, and of twice the rate it is every other frame.
_LAG = 0.25


@dataclass(frozen=True)
class Shape:
    """Upright height and width in pixels that are square (the width is that of display)."""

    height: int
    width: int


def iter_at_rate(path: str | Path, fps: float) -> Iterator[np.ndarray]:
    """Yields upright uint8 RGB frames [X, Y, 3]: frame n is shown at n / fps seconds, at least one frame.

    Frames are repeated or left out as timestamps ask; only those that are yielded are converted.

    Raises:
        InputError: as `lct_jax.media.video.iter_frames`.
    """
    number, held, shown, end = 0, None, None, 0.0
    for frame, start, end in _iter_timed(path):  # noqa: B007 (the last end closes the video)
        while held is not None and (number + _LAG) / fps < start:
            shown = to_rgb(held) if shown is None else shown
            yield shown
            number += 1
        held, shown = frame, None
    shown = to_rgb(held)
    while number == 0 or (number + _LAG) / fps < end:
        yield shown
        number += 1


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


def _iter_timed(path: str | Path) -> Iterator[tuple[av.VideoFrame, float, float]]:
    """Frames with the seconds from the first at which each begins and ends; time never goes back."""
    first, start, length = None, 0.0, 0.0
    for frame in decode_frames(path):
        if frame.time is not None:
            first = frame.time if first is None else first
            begin = max(frame.time - first, start)
        else:
            begin = start + length  # no timestamp: right behind the frame before
        if frame.duration and frame.time_base:
            length = float(frame.duration * frame.time_base)
        elif begin > start:
            length = begin - start
        start = begin
        yield frame, start, start + length
