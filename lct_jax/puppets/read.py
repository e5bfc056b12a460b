"""Reads a puppet frame's attributes back from its pixels; they are None where they are unclear.

Reading knows nothing of what was asked for: a rendered frame and a sampled one are read in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lct_jax.puppets import palette
from lct_jax.puppets.bodies import Body, find_body, find_hat
from lct_jax.puppets.picture import Picture, colour_distance, measure_frame, nearest
from lct_jax.puppets.render import BODY, HORIZON, LANDMARK_AT, SUN_RADIUS, landmark_distance

# A landmark is recognised if its colour is nearer than this share of the distance to the next one.
CLEARLY = 0.8
SMALLEST_PART = 10  # pixels of a landmark that must be visible, at 32 of height
OFF = 55.0  # distance that their mean may have, in sRGB bytes
# Shares of a sun's area: less than the first means no sun, and at least the second means a sun.
NO_SUN, SOME_SUN = 0.12, 0.3


def find_framing(size: float, heights: Mapping[str, float]) -> str:
    """Returns the framing whose height of a body, in the unit of `size`, is nearest to it by its logarithm."""
    return min(heights, key=lambda name: abs(np.log(size / heights[name])))


@dataclass(frozen=True)
class SeenCharacter:
    """Describes a body in a frame: its attributes, the place of its feet (in widths and heights), its height in shorter
    sides."""

    colour: str
    shape: str | None
    hat: str | None
    x: float
    feet: float
    size: float

    @property
    def framing(self) -> str:
        """Returns the framing in which the height of a character is nearest to this one."""
        return find_framing(self.size, BODY)


@dataclass(frozen=True)
class SeenFrame:
    """Describes what one frame shows; `anchor` is the place of sun or landmark, in widths, by name."""

    sky: str | None
    ground: str | None
    sun: str | None
    landmark: str | None
    characters: tuple[SeenCharacter, ...]
    anchor: Mapping[str, float]


def read_frame(frame_HWc: np.ndarray) -> SeenFrame:
    """Reads one frame, uint8 [height, width, 3]."""
    picture = measure_frame(frame_HWc)
    bodies = [body for colour in palette.CHARACTER if (body := find_body(picture, colour))]
    covered = np.zeros(picture.x.shape, bool)
    for body in bodies:
        covered |= body.place | (body.hat_distance < 1.5)
    sun, at_sun = _find_sun(picture, covered)
    landmark, at_landmark = _find_landmark(picture, covered)
    anchor = {"sun": at_sun, "landmark": at_landmark}
    behind = _behind_heads(picture, landmark, at_landmark)
    return SeenFrame(
        sky=nearest(picture.sky, palette.SKY),
        ground=nearest(picture.ground, palette.GROUND),
        sun=sun,
        landmark=landmark,
        characters=tuple(_to_character(picture, body, behind) for body in bodies),
        anchor={name: x for name, x in anchor.items() if x is not None},
    )


def _to_character(picture: Picture, body: Body, behind: np.ndarray) -> SeenCharacter:
    height, width = body.place.shape
    hat = find_hat(picture, body, behind)
    return SeenCharacter(
        body.colour, body.shape, hat, body.x / width, body.feet / height, body.size / picture.side
    )


def _behind_heads(picture: Picture, landmark: str | None, at: float | None) -> np.ndarray:
    """Returns the background of heads, float [H W 3]: the sky with its landmark."""
    behind = np.broadcast_to(picture.sky, picture.frame.shape).copy()
    if landmark is not None:
        x, y = picture.x - at * picture.x.shape[1], picture.y - HORIZON * picture.x.shape[0]
        behind[landmark_distance(landmark, x, y, picture.side) < 0] = palette.LANDMARK[landmark]
    return behind


def _find_sun(picture: Picture, covered: np.ndarray) -> tuple[str | None, float | None]:
    """Returns the side of the sun, and its place in widths."""
    height, width = covered.shape
    white = picture.near(palette.SUN) & (picture.y < 0.34 * height) & ~covered
    whole = np.pi * (SUN_RADIUS * picture.side) ** 2
    left = float(white[:, : width // 2].sum() / whole)
    right = float(white[:, width // 2 :].sum() / whole)
    if max(left, right) < NO_SUN:
        return "none", None
    if min(left, right) > 0.5 * max(left, right) or max(left, right) < SOME_SUN:
        return None, None
    return "left" if left > right else "right", float(picture.x[white].mean() / width)


def _find_landmark(picture: Picture, covered: np.ndarray) -> tuple[str | None, float | None]:
    """Returns the landmark on the horizon, and its place in widths: the one whose shape its colour fills best."""
    height, width = covered.shape
    best = {name: (np.inf, 0.0) for name in palette.LANDMARK}
    for at in _places(width):
        x, y = picture.x - at, picture.y - HORIZON * height
        for name, colour in palette.LANDMARK.items():
            inside = (landmark_distance(name, x, y, picture.side) < -0.5) & (y < -0.5) & ~covered
            if inside.sum() >= SMALLEST_PART * (picture.side / 32) ** 2:
                away = float(colour_distance(picture.frame[inside], colour).mean())
                best[name] = min(best[name], (away, at / width))
    first, second = sorted(best, key=best.get)[:2]
    if best[first][0] > OFF or best[first][0] > CLEARLY * best[second][0]:
        return None, None
    return first, best[first][1]


def _places(width: int) -> np.ndarray:
    """Returns where a landmark may stand, pixel by pixel: on either side, and where a pan may move it."""
    around = np.arange(-0.12 * width, 0.12 * width + 0.5)
    return np.concatenate([side * width + around for side in (LANDMARK_AT, 1.0 - LANDMARK_AT)])
