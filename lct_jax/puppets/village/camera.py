"""Says what a camera sees: where every pixel lies in layers that are near or far.

Lengths in the world are heights of a frame, with x = 0 in its middle and y = 0 on the horizon. A layer moves with the
camera by its nearness: the ground and the villagers by 1, the sky hardly at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lct_jax.puppets.village.paint import Layer

HORIZON = 0.60  # share of the frame's height


class Camera(NamedTuple):
    """Says where a camera points, in heights of a frame to the right, and how much larger it shows near things."""

    pan: float
    zoom: float

    def place(self, nearness: float) -> tuple[float, float]:
        """Returns the shift of a layer, and the factor by which it is larger."""
        return self.pan * nearness, 1.0 + (self.zoom - 1.0) * nearness


def open_layer(camera: Camera, size: tuple[int, int], nearness: float) -> Layer:
    """Returns an empty layer of a frame's size, in which pixels know where they lie in the world."""
    height, width = size
    shift, larger = camera.place(nearness)
    x = (np.arange(width, dtype=np.float32)[None] + 0.5 - width / 2) / height
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - HORIZON
    return Layer((x + shift) / larger, y / larger, height * larger)


def to_screen(camera: Camera, x: float, y: float, nearness: float = 1.0) -> tuple[float, float]:
    """Returns where a point of a layer is seen, in heights from the middle and from the top."""
    shift, larger = camera.place(nearness)
    return x * larger - shift, y * larger + HORIZON
