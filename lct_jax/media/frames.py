"""Reads any video as frames at a fixed rate, by its timestamps, and chooses sizes of one pixel area.

A video file of constant or variable rate, of any shape, rotated or not, is read as upright RGB frames, `fps` of them a
second: frame n is what a viewer sees at n / fps (`frame_rate.py` says when exactly). Captions, records and given videos
all count in these frames; a video whose own rate is `fps` passes through frame by frame.
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

from lct_jax.errors import InputError
from lct_jax.media.clock import Clock
from lct_jax.media.decoding import (
    decode_stream,
    is_transmitted,
    open_video,
    read_stream_rate,
)
from lct_jax.media.frame_rate import first_frame, read_rate, snap_time
from lct_jax.media.orientation import lies_on_side
from lct_jax.media.video import probe_video, resize, to_rgb

# The boxes of ISO/IEC 14496-12, and MPEG-TS and MPEG-PS, have many names.
_BOXES = (".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v")
_MPEG = (".ts", ".m2ts", ".mts", ".m2t", ".mpg", ".mpeg", ".mpe", ".m2p", ".vob", ".mod", ".tod")
_OTHERS = (".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv", ".ogv", ".ogm", ".mxf", ".dv")
VIDEO_SUFFIXES = frozenset((*_BOXES, *_MPEG, *_OTHERS))
# Aspect ratios of one film may differ by this, because sizes are rounded to even numbers.
_SAME_SHAPE = 0.02
_LONGEST = 3600  # seconds that one frame may be shown


@dataclass(frozen=True)
class Shape:
    """Holds upright height and width in pixels that are square (the width is that of display)."""

    height: int
    width: int


class Seen(NamedTuple):
    """Holds a frame of a video, upright uint8 RGB [X, Y, 3], and how many frames at the requested rate show it."""

    frame: np.ndarray
    shown: int


def iter_at_rate(
    path: str | Path, fps: float, *, clock: Clock | None = None
) -> Iterator[np.ndarray]:
    """Yields upright uint8 RGB frames [X, Y, 3]: frame n is shown at n / fps seconds, at least one frame.

    Frames are repeated or left out as timestamps ask; only those that are yielded are converted. All have the size of
    the first one: a video call whose resolution drops is enlarged.

    Args:
        clock: records where timestamps restart and where frames are missing.

    Raises:
        InputError: the errors of `lct_jax.media.video.iter_frames`, or the picture changes its shape, or time jumps by
            hours.
    """
    size = None
    for frame, shown in _iter_counted(path, fps, clock or Clock()):
        if shown:
            picture = _convert(frame, size)
            size = picture.shape[:2]
            yield from itertools.repeat(picture, shown)


def iter_seen(path: str | Path, fps: float, *, clock: Clock | None = None) -> Iterator[Seen]:
    """Yields every frame of a video with the number of frames at `fps` that show it, 0 or more; raises the same
    errors."""
    size = None
    for frame, shown in _iter_counted(path, fps, clock or Clock()):
        picture = _convert(frame, size)
        size = picture.shape[:2]
        yield Seen(picture, shown)


def _iter_counted(
    path: str | Path, fps: float, clock: Clock
) -> Iterator[tuple[av.VideoFrame, int]]:
    rate, number, held, end = read_rate(fps), 0, None, Fraction(0)
    for frame, start, end in _iter_timed(path, clock):  # noqa: B007 (the last end closes the video)
        if held is not None:
            upto = max(first_frame(start, rate), number)
            yield held, upto - number
            number = upto
        held = frame
    yield held, max(first_frame(end, rate), number, 1) - number


def _convert(frame: av.VideoFrame, size: tuple[int, int] | None) -> np.ndarray:
    picture = to_rgb(frame)
    return picture if size is None else resize(picture, *size)


def read_own_rate(path: str | Path) -> Fraction:
    """Returns the frames a second that a video declares; raises the errors of `lct_jax.media.video.probe_video`."""
    return read_rate(probe_video(path).fps)


def read_shape(path: str | Path) -> Shape:
    """Returns the shape of the first frame as displayed; raises the errors of `lct_jax.media.video.iter_frames`."""
    with open_video(path) as stream:
        frames = decode_stream(path, stream)
        shape = _shape_of(next(frames).frame, stream)
        frames.close()
    return shape


def fit_size(
    height: float, width: float, *, area: int, multiple: tuple[int, int]
) -> tuple[int, int]:
    """Returns height and width of about `area` pixels in the given aspect ratio, each a multiple; nothing is
    cropped."""
    scale = (area / (height * width)) ** 0.5
    fit = lambda side, step: max(step, round(side * scale / step) * step)
    return fit(height, multiple[0]), fit(width, multiple[1])


def aspect_error(shape: Shape, size: tuple[int, int]) -> float:
    """Returns how far rounding stretches a picture: the larger aspect ratio over the smaller, minus one."""
    ratio = shape.width * size[0] / (shape.height * size[1])
    return max(ratio, 1 / ratio) - 1


def _iter_timed(
    path: str | Path, clock: Clock
) -> Iterator[tuple[av.VideoFrame, Fraction, Fraction]]:
    """Yields frames with the seconds from the first at which each begins and ends; time never goes back."""
    shape, pixel, before = None, None, Fraction(0)
    with open_video(path) as stream:
        clock.strict = is_transmitted(stream)
        own = read_stream_rate(stream)
        for number, (frame, broken) in enumerate(decode_stream(path, stream)):
            # The container declares one shape of pixels; that of the decoder changes with the picture.
            now = stream.codec_context.sample_aspect_ratio
            pixel = pixel or now
            found = _shape_of(frame, stream, stretch=float(now / pixel) if now else 1.0)
            shape = shape or found
            if aspect_error(found, (shape.height, shape.width)) > _SAME_SHAPE:
                raise InputError(
                    f"{path}: the picture changes from {shape.width}x{shape.height} to "
                    f"{found.width}x{found.height} at frame {number}, expected one shape all along"
                )
            tick = Fraction(frame.time_base or 0)
            time = None if frame.pts is None or not tick else frame.pts * tick
            times = clock.place(time, frame.duration * tick or None, broken=broken)
            # A timestamp is rounded to ticks; a frame of a steady rate is meant to begin at that rate.
            if own.steady:
                times = tuple(snap_time(t, rate=own.fps, tick=tick) for t in times)
            begin, end = times
            if begin - before > _LONGEST:
                raise InputError(
                    f"{path}: timestamps jump ahead by {float(begin - before) / 3600:.1f} hours at "
                    f"frame {number}"
                )
            before = end
            yield frame, begin, end


def _shape_of(frame: av.VideoFrame, stream: av.VideoStream, *, stretch: float = 1.0) -> Shape:
    """Returns the upright shape of a frame as displayed, its pixels wider by `stretch` than the stream declares."""
    width = round(frame.width * float(stream.sample_aspect_ratio or 1) * stretch)
    return Shape(width, frame.height) if lies_on_side(frame) else Shape(frame.height, width)
