"""Reads video files as uint8 RGB frames, and writes frames as mp4.

Frames are numpy arrays [T, X, Y, 3] (frames, rows, columns). Every complaint of a decoder becomes one line here,
because the user can mend a damaged file, and because a film that silently ends early would shift every annotated cut.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image

from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.media.colour import to_rgb8
from lct_jax.media.decoding import (
    decode_stream,
    literal_name,
    open_video,
    read_stream_rate,
)
from lct_jax.media.orientation import turn_upright

_UPSCALERS = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}
# This is the constant quality of x264, from 0 (lossless) to 51: 17 is considered free of visible loss.
_QUALITY = "17"
# The output of x264 depends on how many threads it has, which are otherwise as many as there are processors, and on
# shortcuts for each kind of processor, with which two runs on one processor differed as well.
_REPEATABLE = {"x264-params": "cpu-independent=1"}
_THREADS = 4


@dataclass(frozen=True)
class Video:
    """Holds decoded frames, uint8 RGB [T, X, Y, 3], and how many of them fill a second."""

    frames: np.ndarray
    fps: float


@dataclass(frozen=True)
class VideoInfo:
    """Holds what a video file declares; nothing of it is decoded.

    Attributes:
      fps: the average frames a second.
      height: the rows, as stored (a rotation is not applied).
      width: the columns, as stored.
      frame_count: the number of frames, None where the container does not say.
      pixel_aspect: the width of a stored pixel over its height; 1 where nothing is declared.
    """

    fps: float
    height: int
    width: int
    frame_count: int | None
    pixel_aspect: float


def probe_video(path: str | Path) -> VideoInfo:
    """Reads what a video file declares about itself.

    Raises:
      InputError: the file is missing, empty, not a video, or declares no frame rate.
    """
    with open_video(path) as stream:
        rate = read_stream_rate(stream).fps
        if not rate:
            raise InputError(f"{path}: the video declares no frame rate")
        codec = stream.codec_context
        aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        return VideoInfo(float(rate), codec.height, codec.width, stream.frames or None, aspect)


def iter_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Yields every frame of a video in order, uint8 RGB [X, Y, 3], one in memory at a time.

    Raises:
      InputError: the errors of `probe_video`, or, during decoding, the file is damaged or ends before its container
          says.
    """
    for frame in decode_frames(path):
        yield to_rgb(frame)


def read_video(path: str | Path) -> Video:
    """Reads a whole video into memory; raises the errors of `iter_frames`."""
    fps = probe_video(path).fps
    return Video(frames=np.stack(list(iter_frames(path))), fps=fps)


def resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 frames [..., X, Y, 3] to [..., height, width, 3].

    The filter is Lanczos, whose support grows with the reduction, so that nothing aliases when frames shrink.
    """
    if frames.shape[-3:-1] == (height, width):
        return frames
    return _resize(frames, height, width, Image.Resampling.LANCZOS)


def narrow(frame: np.ndarray, widest: int) -> np.ndarray:
    """Returns a uint8 frame [X, Y, 3] at most `widest` pixels wide, with its aspect ratio kept.

    Each pixel is the mean of the area that it covers.
    """
    height, width = frame.shape[:2]
    if width <= widest:
        return frame
    # OpenCV is loaded where a frame needs it alone, so that programs start without it.
    import cv2

    size = (widest, max(1, round(height * widest / width)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def fit_inside(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 frames [T, X, Y, 3] to the largest that fits in [T, height, width, 3], and pads with black."""
    scale = min(height / frames.shape[1], width / frames.shape[2])
    inner = [
        min(side, round(own * scale))
        for own, side in zip(frames.shape[1:3], (height, width), strict=True)
    ]
    missing = height - inner[0], width - inner[1]
    before_after = [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(resize(frames, *inner), ((0, 0), *before_after, (0, 0)))


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    credit: str = "",
    scale: int = 1,
    upscaler: Literal["lanczos", "nearest"] = "lanczos",
) -> None:
    """Writes an mp4 (H.264, yuv420p, BT.709) that any player and browser shows.

    The same frames give the same bytes in every run. The file appears under its name only when it is complete. Odd
    sizes repeat their last row or column, since yuv420p halves both.

    Args:
      path: the name of the file, which ends in .mp4; its folder is made.
      frames: uint8 RGB [T, X, Y, 3], or any iterable of [X, Y, 3] of one size.
      fps: frames a second.
      credit: is kept as the file's comment.
      scale: the whole factor of enlargement, so that small frames are not enlarged by a player's filter.
      upscaler: the filter of that enlargement.

    Raises:
      InputError: the path cannot be written or does not end in .mp4.
      ValueError: there are no frames, or one is not uint8 [X, Y, 3] of the first one's size.
    """
    path = Path(path)
    if path.suffix != ".mp4":
        raise InputError(f"{path}: expected a name that ends in .mp4")
    if scale < 1:
        raise ValueError(f"scale is {scale}, expected at least 1")
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise ValueError("there are no frames to write")
    with replace_atomically(path) as unfinished:
        ready = (_prepare(frame, first, scale, upscaler) for frame in chain([first], rest))
        _encode(unfinished, ready, fps, credit)


def scale_to(height: int, frames: np.ndarray) -> int:
    """Returns the whole factor, at least 1, that enlarges frames [T, X, Y, 3] to about a height in pixels."""
    return max(1, round(height / frames.shape[1]))


def embed_video(mp4: bytes) -> str:
    """Returns the address by which a page shows a video that it holds itself."""
    return f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}"


def _encode(path: Path, frames: Iterator[np.ndarray], fps: float, credit: str) -> None:
    first = next(frames)
    # The index is written to the front, so that browsers start before the file has arrived.
    options = {"movflags": "+faststart"}
    with av.open(literal_name(path), "w", format="mp4", options=options) as container:
        if credit:
            container.metadata["comment"] = credit
        # 1001 is the largest denominator in use: 23.976 is 24000/1001.
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": _QUALITY, "preset": "medium"} | _REPEATABLE
        codec = stream.codec_context
        codec.thread_type, codec.thread_count = "FRAME", _THREADS
        # Players guess untagged colours, and differently by size.
        codec.colorspace = codec.color_primaries = codec.color_trc = 1  # BT.709
        codec.color_range = 1  # 16 to 235
        for rgb in chain([first], frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _prepare(frame: np.ndarray, first: np.ndarray, scale: int, upscaler: str) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"found a frame {frame.dtype} {frame.shape}, expected uint8 [X, Y, 3]")
    if frame.shape != first.shape:
        raise ValueError(f"found a frame of {frame.shape} after one of {first.shape}")
    height, width = frame.shape[0] * scale, frame.shape[1] * scale
    if scale > 1:
        frame = _resize(frame, height, width, _UPSCALERS[upscaler])
    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _resize(frames: np.ndarray, height: int, width: int, resample: Image.Resampling) -> np.ndarray:
    flat = frames.reshape(-1, *frames.shape[-3:])
    resized = np.empty((len(flat), height, width, 3), np.uint8)
    for i, frame in enumerate(flat):
        resized[i] = Image.fromarray(frame).resize((width, height), resample)
    return resized.reshape(*frames.shape[:-3], height, width, 3)


def decode_frames(path: str | Path) -> Iterator[av.VideoFrame]:
    """Yields decoded frames as the library has them, in order of display; raises the errors of `iter_frames`."""
    with open_video(path) as stream:
        for decoded in decode_stream(path, stream):
            yield decoded.frame


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Returns a decoded frame as uint8 RGB [X, Y, 3], upright, in the colours of a BT.709 display."""
    return turn_upright(to_rgb8(frame), frame)
