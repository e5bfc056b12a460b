"""Renders puppet shots as pixels: flat shapes with smooth edges, from labels alone.

Every shape is a signed distance in pixels. Its coverage of a pixel is that distance clipped to half a pixel on both
sides, which is anti-aliasing at the cost of one array operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lct_jax.puppets import palette
from lct_jax.puppets.scene import Character, PuppetScene, PuppetShot

HORIZON = 0.62  # share of the frame's height
# Heights of a character as shares of the frame's shorter side.
BODY = {"wide": 0.40, "medium": 0.56, "close": 0.78}
# Where a character stands, as shares of the frame's height.
FEET = {"wide": 0.84, "medium": 0.92, "close": 0.99}
# Distance from the side in widths, and radius as a share of the shorter side.
SUN_AT, SUN_RADIUS = 0.17, 0.105
LANDMARK_AT, LANDMARK_HALF, LANDMARK_HEIGHT = 0.18, 0.115, 0.34
JUMP = 0.2  # height of a jump as a share of the frame's height
PAIR = (0.27, 0.73)  # where two characters stand, in widths
HAT_WIDTH, HAT_HEIGHT = 0.46, 0.20  # shares of a character's height


@dataclass(frozen=True)
class Trajectory:
    """Holds the places of the only subject and the picture in every frame, in pixels: float64[T] each.

    Attributes:
        shift: the distance by which the picture moves against the world. x, feet: the place of the only subject.
    """

    shift: np.ndarray
    x: np.ndarray
    feet: np.ndarray


def render_shot(scene: PuppetScene, shot: PuppetShot) -> np.ndarray:
    """Returns uint8 [frames, height, width, 3], one shot of a scene."""
    height, width = scene.size
    track = follow(shot, scene.size)
    canvas = _Canvas(shot.frames, height, width)
    _draw_environment(canvas, scene, track)
    size = BODY[shot.framing] * min(scene.size)
    for place, number in enumerate(shot.subjects):
        pair = len(shot.subjects) > 1
        x = PAIR[place] * width + track.shift if pair else track.x
        _draw_character(canvas, scene.characters[number - 1], x, track.feet, size)
    return np.clip(np.rint(canvas.colour), 0, 255).astype(np.uint8)


def follow(shot: PuppetShot, size: tuple[int, int]) -> Trajectory:
    """Returns the places in every frame of a shot: even motion, and a parabola for a jump."""
    height, width = size
    done = np.linspace(0.0, 1.0, shot.frames) if shot.frames > 1 else np.zeros(1)
    camera = shot.camera + (shot.camera_end - shot.camera) * done
    x = shot.start + (shot.end - shot.start) * done - camera
    rise = 4.0 * JUMP * done * (1.0 - done) if shot.action == "jumps" else 0.0 * done
    return Trajectory(shift=-camera * width, x=x * width, feet=(FEET[shot.framing] - rise) * height)


def distance_of(shape: str, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Returns the signed distance in pixels to a body that stands on y = 0 (y grows downwards) around x = 0; negative
    inside."""
    half, middle = size / 2, y + size / 2
    if shape == "circle":
        return np.hypot(x, middle) - half
    if shape == "square":
        side = 0.9 * half
        return np.maximum(np.abs(x), np.abs(y + side)) - side
    slope = np.hypot(size, half)  # of a triangle as wide as it is high
    return np.maximum(y, (np.abs(x) * size - (y + size) * half) / slope)


class _Canvas:
    """Holds frames to paint on, float64 [T H W 3], and the middles of pixels."""

    def __init__(self, frames: int, height: int, width: int) -> None:
        self.colour = np.zeros((frames, height, width, 3))
        self.y = np.arange(height)[None, :, None] + 0.5
        self.x = np.arange(width)[None, None, :] + 0.5

    def paint(self, distance_THW: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Paints a colour where the distance is less than half a pixel."""
        cover = np.clip(0.5 - distance_THW, 0.0, 1.0)[..., None]
        self.colour += cover * (np.asarray(colour, np.float64) - self.colour)


def _draw_environment(canvas: _Canvas, scene: PuppetScene, track: Trajectory) -> None:
    height, width = scene.size
    side, shift = min(scene.size), track.shift[:, None, None]
    place, x = scene.environment, canvas.x - shift
    canvas.paint(np.full(canvas.colour.shape[:3], -1.0), palette.SKY[place.sky])
    if place.sun != "none":
        at = SUN_AT if place.sun == "left" else 1.0 - SUN_AT
        round_sun = np.hypot(x - at * width, canvas.y - 0.16 * height) - SUN_RADIUS * side
        canvas.paint(round_sun, palette.SUN)
    at = 1.0 - LANDMARK_AT if place.sun == "left" else LANDMARK_AT
    foot = canvas.y - HORIZON * height
    canvas.paint(
        landmark_distance(place.landmark, x - at * width, foot, side),
        palette.LANDMARK[place.landmark],
    )
    canvas.paint(-foot + 0.0 * x, palette.GROUND[place.ground])


def _draw_character(
    canvas: _Canvas, who: Character, x_T: np.ndarray, feet_T: np.ndarray, size: float
) -> None:
    x, y = canvas.x - x_T[:, None, None], canvas.y - feet_T[:, None, None]
    canvas.paint(distance_of(who.shape, x, y, size), palette.CHARACTER[who.colour])
    if who.hat != "none":
        canvas.paint(hat_distance(who.shape, x, y, size), palette.HAT[who.hat])


def landmark_distance(landmark: str, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Returns about the signed distance to a landmark on the horizon y = 0 around x = 0; `side` is the frame's shorter
    side."""
    half, tall = LANDMARK_HALF * side, LANDMARK_HEIGHT * side
    if landmark == "tree":
        return np.hypot(x, (y + 0.55 * tall) * 0.75) - half * 1.15
    if landmark == "tower":
        return np.maximum(np.abs(x) - 0.6 * half, -(y + 1.25 * tall))
    wall = np.maximum(np.abs(x) - half, -(y + 0.45 * tall))
    roof = np.maximum(y + 0.45 * tall, (np.abs(x) - (y + tall) * 0.85) * 0.75)
    return np.minimum(wall, roof)


def hat_distance(shape: str, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Returns the signed distance to the hat of a body: a block that covers its top."""
    top = {"circle": 0.94, "square": 0.84, "triangle": 0.80}[shape] * size
    middle = y + top + HAT_HEIGHT * size / 2
    return np.maximum(np.abs(x) - HAT_WIDTH * size / 2, np.abs(middle) - HAT_HEIGHT * size / 2)
