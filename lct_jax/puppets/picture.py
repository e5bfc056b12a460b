"""Prepares a frame for reading: numbers, middles of pixels, and the colours of its sky and its ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lct_jax.puppets import palette

# A pixel has a colour of the palette if it is nearer than this to it, in sRGB bytes.
NEAR = 60.0
# A region that is farther than this from every colour it may have is not classified.
FAR = 75.0


@dataclass(frozen=True)
class Picture:
    """Holds a frame as float64 [H W 3], middles of its pixels, its shorter side, and the colours of its sky and
    ground."""

    frame: np.ndarray
    x: np.ndarray
    y: np.ndarray
    side: int
    sky: np.ndarray
    ground: np.ndarray

    def near(self, colour: tuple[int, int, int], limit: float = NEAR) -> np.ndarray:
        """Returns bool [H W]: which pixels have a colour."""
        return colour_distance(self.frame, colour) < limit


def measure_frame(frame_HWc: np.ndarray) -> Picture:
    """Returns the picture of a frame, uint8 [height, width, 3]; sky and ground are medians of the top and the better
    lower corner."""
    frame = frame_HWc.astype(np.float64)
    height, width = frame.shape[:2]
    edge = max(2, width // 9)
    low = int(0.75 * height)
    sides = [
        np.median(part.reshape(-1, 3), axis=0) for part in (frame[low:, :edge], frame[low:, -edge:])
    ]
    best = min(
        sides, key=lambda colour: min(colour_distance(colour, c) for c in palette.GROUND.values())
    )
    return Picture(
        frame=frame,
        x=np.arange(width)[None] + 0.5 + np.zeros((height, 1)),
        y=np.arange(height)[:, None] + 0.5 + np.zeros((1, width)),
        side=min(height, width),
        sky=np.median(frame[: max(2, height // 10)].reshape(-1, 3), axis=0),
        ground=best,
    )


def nearest(colour: np.ndarray, named: Mapping[str, tuple[int, int, int]]) -> str | None:
    """Returns the name of the colour nearest to that of a region; None if none is near."""
    first = min(named, key=lambda name: colour_distance(colour, named[name]))
    return first if colour_distance(colour, named[first]) < FAR else None


def colour_distance(colours: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    """Returns the Euclidean distance of colours [... 3] to one, in sRGB bytes."""
    return np.sqrt(np.square(colours - np.asarray(colour, np.float64)).sum(axis=-1))
