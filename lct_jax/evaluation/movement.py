"""Measures how much shots flicker and how much in them moves."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from lct_jax.evaluation.samples import Cases

# Optical flow is computed on pictures at most this wide, in pixels.
_WIDEST = 256
# Farneback 2003 as OpenCV has it: scale and levels of the pyramid, window, rounds, neighbourhood and its deviation.
_FLOW = (0.5, 3, 15, 3, 5, 1.2, 0)


def measure_movement(frames: tuple[np.ndarray, ...]) -> Cases:
    """Returns flicker and motion of each shot, uint8 [T, X, Y, 3], that is long enough for them."""
    return {
        "flicker": [measure_flicker(shot) for shot in frames if len(shot) > 2],
        "motion": [measure_motion(shot) for shot in frames if len(shot) > 1],
    }


def measure_flicker(shot: np.ndarray) -> float:
    """Returns the mean difference, in grey levels, of each pixel from the mean of the frames before and after it.

    A steady change of light has none, and what jumps forth and back every frame by d levels has d; motion adds some.
    """
    frames = shot.astype(np.float32)
    return float(np.abs(frames[1:-1] - (frames[:-2] + frames[2:]) / 2).mean())


def measure_motion(shot: np.ndarray) -> float:
    """Returns the mean length of optical flow from a frame to the next, in percent of the picture's diagonal."""
    scale = min(1.0, _WIDEST / shot.shape[2])
    size = (max(1, round(shot.shape[2] * scale)), max(1, round(shot.shape[1] * scale)))
    grey = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        for frame in shot
    ]
    lengths = [
        np.linalg.norm(cv2.calcOpticalFlowFarneback(one, other, None, *_FLOW), axis=-1).mean()
        for one, other in itertools.pairwise(grey)
    ]
    return float(100 * np.mean(lengths) / np.hypot(*size))
