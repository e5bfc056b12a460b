"""Writes small videos of every kind that a folder of footage may hold, with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICK = Fraction(1, 600)


def draw_shots(
    lengths: Sequence[int], *, height: int = 48, width: int = 64, seed: int = 0, drift: float = 2.0
) -> np.ndarray:
    """Draws shots of textured ground over which a square moves, each in its own colours: uint8 [sum, height,
    width, 3]."""
    rng, shots = np.random.default_rng(seed), []
    for length in lengths:
        ground = rng.integers(40, 200, 3) + rng.integers(-30, 30, (height, width, 1))
        frames = np.repeat(ground[None], length, axis=0)
        left, colour = rng.integers(0, width // 2), rng.integers(0, 255, 3)
        for number, frame in enumerate(frames):
            start = int(left + drift * number) % (width - width // 4)
            frame[height // 4 : height // 2, start : start + width // 4] = colour
        shots.append(frames)
    return np.clip(np.concatenate(shots), 0, 255).astype(np.uint8)


def write_footage(
    path: Path,
    frames: np.ndarray,
    *,
    fps: float = 12,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Writes frames [N, X, Y, 3 or 4], each shown at `times` (seconds; evenly by `fps` where there are none)."""
    times = [number / fps for number in range(len(frames))] if times is None else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = TICK
        if codec == "libx264":
            stream.options = {"crf": "12", "preset": "veryfast"}
        if pixel_aspect is not None:
            stream.sample_aspect_ratio = pixel_aspect
        for picture, time in zip(frames, times, strict=True):
            shape = "rgba" if picture.shape[-1] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=shape)
            frame.pts, frame.time_base = round(time / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_steady(
    path: Path,
    frames: np.ndarray,
    *,
    fps: int = 12,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Writes frames [N, X, Y, 3] in the container that the name or `format` says, with times of its own choice."""
    with av.open(str(path), "w", format=format, options=container_options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
        stream.options = options or {}
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, matrix: Sequence[int] = (0, 1, -1, 0)) -> Path:
    """Marks an mp4 as filmed with the camera on its side, by a quarter turn, or in another way.

    Args:
        matrix: a, b, c and d of the matrix of its track, each -1, 0 or 1.
    """
    one, unit = 1 << 16, 1 << 30
    a, b, c, d = (one * value for value in matrix)
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    other = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, unit)
    data = path.read_bytes()
    track = data.index(upright, data.index(b"tkhd"))
    path.write_bytes(data[:track] + other + data[track + len(upright) :])
    return path


def write_sound(path: Path) -> Path:
    """Writes a file with sound alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 44100), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
