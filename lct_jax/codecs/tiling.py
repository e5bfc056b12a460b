"""Processes large pictures in overlapping tiles, which takes less memory than the whole picture.

Neighbours are blended linearly where they overlap. A network whose receptive field exceeds the overlap (attention over
a frame) gives other numbers than on the whole picture, so tiling changes the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tiling:
    """Holds rows and columns of a tile, and how many of them neighbours share at least, in latent positions."""

    side: int = 32
    overlap: int = 8


def apply_in_tiles(
    apply: Callable[[np.ndarray], np.ndarray],
    x_TXYc: np.ndarray,
    tiling: Tiling,
    *,
    unit_in: int,
    unit_out: int,
) -> np.ndarray:
    """Applies a function of videos [T X Y c] tile by tile and blends the results.

    Args:
        unit_in, unit_out: rows and columns of a latent position in the input and in the output.
    """
    sizes = [side // unit_in for side in x_TXYc.shape[1:3]]
    whole: np.ndarray | None = None
    weights = np.zeros((1, sizes[0] * unit_out, sizes[1] * unit_out, 1), np.float32)
    for row in tile_starts(sizes[0], tiling):
        for column in tile_starts(sizes[1], tiling):
            place = tuple(
                slice(start, min(start + tiling.side, size))
                for start, size in zip((row, column), sizes, strict=True)
            )
            made = apply(x_TXYc[:, *_scale(place, unit_in)])
            if whole is None:
                whole = np.zeros((len(made), *weights.shape[1:3], made.shape[-1]), np.float32)
            weight = _ramp(place[0], sizes[0], tiling, unit_out)[None, :, None, None]
            weight = weight * _ramp(place[1], sizes[1], tiling, unit_out)[None, None, :, None]
            target = _scale(place, unit_out)
            whole[:, *target] += weight * made
            weights[:, *target] += weight
    return whole / weights


def tile_starts(size: int, tiling: Tiling) -> list[int]:
    """Returns where tiles begin: as few as suffice, evenly spaced, the last ending with the picture."""
    step = tiling.side - tiling.overlap
    count = max(1, -(-(size - tiling.overlap) // step))
    return [int(start) for start in np.linspace(0, max(0, size - tiling.side), count)]


def _scale(place: tuple[slice, ...], unit: int) -> tuple[slice, ...]:
    return tuple(slice(part.start * unit, part.stop * unit) for part in place)


def _ramp(place: slice, size: int, tiling: Tiling, unit: int) -> np.ndarray:
    """Returns the weights along one side of a tile: 1, falling towards the edges that are not the picture's."""
    length, overlap = (place.stop - place.start) * unit, tiling.overlap * unit
    inwards = (np.arange(length, dtype=np.float32) + 0.5) / max(overlap, 1)
    weight = np.ones(length, np.float32)
    if place.start > 0:
        weight = np.minimum(weight, inwards)
    if place.stop < size:
        weight = np.minimum(weight, inwards[::-1])
    return weight
