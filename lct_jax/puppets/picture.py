"""A frame as what reads it wants it: numbers, middles of pixels, and what its sky and its ground are like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lct_jax.puppets import palette

NEAR = 60.0  # a pixel has a colour of the palette when it is nearer than this to it, in sRGB bytes
FAR = (
    75.0  # what covers a region and is farther than this from every colour it may have is not told
)


@dataclass(frozen=True)
class Picture:
    """A frame as float64 [H W 3], middles of its pixels, its shorter side, and what its sky and ground are like."""

    frame: np.ndarray
    x: np.ndarray
    y: np.ndarray
    side: int
    sky: np.ndarray
    ground: np.ndarray

    def near(self, colour: tuple[int, int, int], limit: float = NEAR) -> np.ndarray:
        """bool [H W]: which pixels have a colour."""
        return colour_distance(self.frame, colour) < limit


def look_at(frame_HWc: np.ndarray) -> Picture:
    """A frame, uint8 [height, width, 3]; sky and ground are the medians of the top and of the better lower corner."""
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
    """The name of the colour that a region's is like; None where it is like none."""
    first = min(named, key=lambda name: colour_distance(colour, named[name]))
    return first if colour_distance(colour, named[first]) < FAR else None


def colour_distance(colours: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    """Euclidean distance of colours [... 3] to one, in sRGB bytes."""
    return np.sqrt(np.square(colours - np.asarray(colour, np.float64)).sum(axis=-1))
