"""Converts between the bytes of a video and the floats that a codec computes with."""

from __future__ import annotations

import numpy as np

from lct_jax.errors import InputError


def check_video(video_TXYc: np.ndarray, stride: tuple[int, int, int]) -> np.ndarray:
    """Returns the video itself; raises InputError unless it has s*n + 1 frames and its sides are multiples of the
    stride."""
    frames, height, width = video_TXYc.shape[:3]
    if frames % stride[0] != 1:
        raise InputError(f"video: found {frames} frames, expected {stride[0]}n + 1")
    if height % stride[1] or width % stride[2]:
        sides = " and ".join(map(str, sorted({stride[1], stride[2]})))
        raise InputError(f"video: found {height}x{width} pixels, expected multiples of {sides}")
    return video_TXYc


def to_floats(video: np.ndarray) -> np.ndarray:
    """Converts uint8 to float32 in -1..1."""
    return video.astype(np.float32) / 127.5 - 1.0


def to_bytes(video: np.ndarray) -> np.ndarray:
    """Converts floats in -1..1 to uint8, rounded and clipped."""
    return np.clip(np.rint((video + 1.0) * 127.5), 0, 255).astype(np.uint8)
