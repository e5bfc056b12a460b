"""Paints with smooth edges: signed distances of simple shapes, and layers of colour and cover.

Lengths are in units of what is drawn; a layer knows how many pixels a unit has. A shape covers a pixel by its distance
clipped to half a pixel on both sides.
"""

from __future__ import annotations

import numpy as np

Colour = tuple[float, float, float] | np.ndarray


class Layer:
    """Holds a picture in the making, float32: premultiplied colours [H W 3] in 0..1, and cover [H W].

    Attributes:
        x, y: the places of the middles of pixels, float32 that broadcast to [H W]; y grows downwards.
        pixels: pixels in a unit of length.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, pixels: float) -> None:
        self.x, self.y, self.pixels = x, y, np.float32(pixels)
        shape = np.broadcast_shapes(x.shape, y.shape)
        self.colour = np.zeros((*shape, 3), np.float32)
        self.cover = np.zeros(shape, np.float32)

    def paint(self, distance: np.ndarray, colour: Colour, *, opacity: float = 1.0) -> None:
        """Paints a colour, or one for every pixel [H W 3], where the distance is less than half a pixel."""
        self.spread(np.clip(0.5 - distance * self.pixels, 0.0, 1.0) * np.float32(opacity), colour)

    def glow(self, distance: np.ndarray, reach: float, colour: Colour, *, opacity: float) -> None:
        """Paints a colour that fades to nothing over `reach` units outside of a shape."""
        near = np.clip(1.0 - distance / np.float32(reach), 0.0, 1.0)
        self.spread(near * near * np.float32(opacity), colour)

    def spread(self, cover: np.ndarray, colour: Colour) -> None:
        """Paints a colour by a share of every pixel [H W]."""
        cover = np.broadcast_to(cover, self.cover.shape).astype(np.float32)
        share = cover[..., None]
        self.colour += share * (np.asarray(colour, np.float32) - self.colour)
        self.cover += cover * (1.0 - self.cover)


def length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the length of vectors; `np.hypot`, which cannot overflow, takes ten times as long."""
    return np.sqrt(x * x + y * y)


def ellipse(x: np.ndarray, y: np.ndarray, wide: float, high: float) -> np.ndarray:
    """Returns about the signed distance to an ellipse around 0 of these half axes."""
    return (length(x / wide, y / high) - 1.0) * min(wide, high)


def box(x: np.ndarray, y: np.ndarray, wide: float, high: float, corner: float = 0.0) -> np.ndarray:
    """Returns the signed distance to a box around 0 of these half sides with round corners."""
    a, b = np.abs(x) - (wide - corner), np.abs(y) - (high - corner)
    outside = length(np.maximum(a, 0.0), np.maximum(b, 0.0))
    return outside + np.minimum(np.maximum(a, b), 0.0) - corner


def capsule(
    x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float], thick: float
) -> np.ndarray:
    """Returns the signed distance to a thick line with round ends; `thick` is half its width."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = x - start[0], y - start[1]
    along = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-9), 0.0, 1.0)
    return length(px - along * dx, py - along * dy) - thick


def waves(x: np.ndarray, y: np.ndarray, seed: int, octaves: int = 3) -> np.ndarray:
    """Returns smooth noise in about -1..1, the same everywhere: sums of crossing waves that fold each other."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for octave in range(octaves):
        a, b, c, d, p, q = rng.uniform(-1.0, 1.0, 6) * np.array([4, 4, 4, 4, 9, 9]) * 1.9**octave
        fold = np.sin(c * y - d * x + q)
        total = total + np.sin(a * x + b * y + 1.3 * fold + p) * fold / 1.7**octave
    return (total / 1.4).astype(np.float32)


def mix(one: Colour, other: Colour, share: np.ndarray | float) -> np.ndarray:
    """Returns colours between two, [H W 3] or [3]: the first where `share` is 0, the other where it is 1."""
    share = np.clip(np.asarray(share, np.float32), 0.0, 1.0)[..., None]
    one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
    return one + share * (other - one)
