"""Reading a puppet shot's attributes back from its pixels; None where one cannot tell.

Frames enter, a `SeenFrame` leaves: it is found by colour who is there, by the best of three templates of equal area what
shape, and by colour above its head which hat. Nothing is known of what was asked for: a scene that is rendered and one
that a model made are read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lct_jax.puppets import palette
from lct_jax.puppets.render import (
    BODY,
    HORIZON,
    LANDMARK_AT,
    SUN_RADIUS,
    distance_of,
    hat_distance,
    landmark_distance,
)
from lct_jax.puppets.scene import SHAPES

NEAR = 60.0  # a pixel has a colour of the palette when it is nearer than this to it, in sRGB bytes
FAR = 75.0  # what covers a whole region and is farther than this from every colour it may have is not told
SMALLEST = 30.0  # pixels of a body's own colour at 32 pixels of height; the smallest body has 82
COMPACT = 0.2  # of the rectangle around a body that it fills; a triangle fills half
MISFIT, MARGIN = (
    0.5,
    0.03,
)  # of a shape's template: most of its area, and how much better than the next one
CLEARLY, HAT_CLEARLY = (
    0.8,
    0.65,
)  # a landmark or a hat is told when its colour is nearer by so much than the next one
LEAST_HAT = 5  # pixels of a hat that must be there above a body
SMALLEST_PART, OFF = (
    10,
    55.0,
)  # pixels of a landmark that must be seen at 32 of height, and how far off their mean may be
AREA = {"circle": np.pi / 4, "square": 0.81, "triangle": 0.5}  # of a body of height 1
CENTRE = {"circle": 0.5, "square": 0.45, "triangle": 1 / 3}  # of mass, above its feet


@dataclass(frozen=True)
class SeenCharacter:
    """A body in a frame: its attributes, where its feet are (in widths and heights), and its height in shorter sides."""

    colour: str
    shape: str | None
    hat: str | None
    x: float
    feet: float
    size: float

    @property
    def framing(self) -> str:
        """The framing in which a character is nearest to so high."""
        return min(BODY, key=lambda name: abs(np.log(self.size / BODY[name])))


@dataclass(frozen=True)
class SeenFrame:
    """What one frame shows; `anchor` is where sun or landmark is, in widths, by name."""

    sky: str | None
    ground: str | None
    sun: str | None
    landmark: str | None
    characters: tuple[SeenCharacter, ...]
    anchor: Mapping[str, float]


@dataclass(frozen=True)
class _Picture:
    """A frame as float64 [H W 3], middles of its pixels, its shorter side, and what its sky and ground are like."""

    frame: np.ndarray
    x: np.ndarray
    y: np.ndarray
    side: int
    sky: np.ndarray
    ground: np.ndarray

    def near(self, colour: tuple[int, int, int], limit: float = NEAR) -> np.ndarray:
        """bool [H W]: which pixels have a colour."""
        return _distance(self.frame, colour) < limit


def read_frame(frame_HWc: np.ndarray) -> SeenFrame:
    """Reads one frame, uint8 [height, width, 3]."""
    picture = _look(frame_HWc)
    bodies = [body for colour in palette.CHARACTER if (body := _find_body(picture, colour))]
    covered = np.zeros(picture.x.shape, bool)
    for body in bodies:
        covered |= body.place | (body.hat_distance < 1.5)
    sun, at_sun = _find_sun(picture, covered)
    landmark, at_landmark = _find_landmark(picture, covered)
    anchor = {"sun": at_sun, "landmark": at_landmark}
    behind = _behind_heads(picture, landmark, at_landmark)
    return SeenFrame(
        sky=_nearest(picture.sky, palette.SKY),
        ground=_nearest(picture.ground, palette.GROUND),
        sun=sun,
        landmark=landmark,
        characters=tuple(_to_character(picture, body, behind) for body in bodies),
        anchor={name: x for name, x in anchor.items() if x is not None},
    )


def _look(frame_HWc: np.ndarray) -> _Picture:
    frame = frame_HWc.astype(np.float64)
    height, width = frame.shape[:2]
    edge = max(2, width // 9)
    low = int(0.75 * height)
    sides = [
        np.median(part.reshape(-1, 3), axis=0) for part in (frame[low:, :edge], frame[low:, -edge:])
    ]
    best = min(sides, key=lambda colour: min(_distance(colour, c) for c in palette.GROUND.values()))
    return _Picture(
        frame=frame,
        x=np.arange(width)[None] + 0.5 + np.zeros((height, 1)),
        y=np.arange(height)[:, None] + 0.5 + np.zeros((1, width)),
        side=min(height, width),
        sky=np.median(frame[: max(2, height // 10)].reshape(-1, 3), axis=0),
        ground=best,
    )


@dataclass(frozen=True)
class _Body:
    """A body: which shape (None: cannot tell), where, and the distance of every pixel to it and to a hat on it."""

    colour: str
    shape: str | None
    x: float
    feet: float
    size: float
    place: np.ndarray
    distance: np.ndarray
    hat_distance: np.ndarray


def _find_body(picture: _Picture, colour: str) -> _Body | None:
    """The body of a colour; None where there is none."""
    own = picture.near(palette.CHARACTER[colour])
    rows, columns = (np.flatnonzero(own.sum(axis) >= 2) for axis in (1, 0))
    if own.sum() < SMALLEST * (picture.side / 32) ** 2 or not len(rows) or not len(columns):
        return None
    place = np.zeros_like(own)
    place[_span(rows), _span(columns)] = True
    if own[place].mean() < COMPACT:
        return None
    cover = np.where(place, _cover(picture, palette.CHARACTER[colour]), 0.0)
    fits = {shape: _fit(picture, shape, cover) for shape in SHAPES}
    first, second = sorted(fits, key=lambda shape: fits[shape].misfit)[:2]
    best = fits[first]
    told = best.misfit < MISFIT and fits[second].misfit - best.misfit > MARGIN
    where = (first, picture.x - best.x, picture.y - best.feet, best.size)
    return _Body(
        colour, first if told else None, best.x, best.feet, best.size, place,
        distance_of(*where), hat_distance(*where),
    )  # fmt: skip


class _Fit(NamedTuple):
    """How far a cover is from a shape that is placed as well as can be, in areas, and where that is."""

    misfit: float
    x: float
    feet: float
    size: float


def _fit(picture: _Picture, shape: str, cover: np.ndarray) -> _Fit:
    """Tries sizes and heights around those of the same area and centre, with a hat on and without."""
    area = cover.sum()
    x, y = float((cover * picture.x).sum() / area), float((cover * picture.y).sum() / area)
    best = _Fit(np.inf, x, y, 1.0)
    for scale in (0.95, 1.0, 1.06):
        size = float(np.sqrt(area / AREA[shape])) * scale
        for lower in (-0.7, 0.0, 0.7):
            feet = y + CENTRE[shape] * size + lower
            place = (shape, picture.x - x, picture.y - feet, size)
            bare = np.clip(0.5 - distance_of(*place), 0.0, 1.0)
            hatted = bare * np.clip(0.5 + hat_distance(*place), 0.0, 1.0)
            misfit = min(float(np.abs(wanted - cover).sum() / area) for wanted in (bare, hatted))
            best = min(best, _Fit(misfit, x, feet, size))
    return best


def _to_character(picture: _Picture, body: _Body, behind: np.ndarray) -> SeenCharacter:
    height, width = body.place.shape
    hat = _find_hat(picture, body, behind)
    return SeenCharacter(
        body.colour, body.shape, hat, body.x / width, body.feet / height, body.size / picture.side
    )


def _cover(picture: _Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """float [H W]: how much of each pixel is of a colour, if the rest is of sky or ground."""
    above = picture.y < HORIZON * picture.frame.shape[0]
    behind = np.where(above[..., None], picture.sky, picture.ground)
    whole = np.maximum(_distance(behind, colour), 1.0)
    return np.clip(1.0 - _distance(picture.frame, colour) / whole, 0.0, 1.0)


def _behind_heads(picture: _Picture, landmark: str | None, at: float | None) -> np.ndarray:
    """What is behind heads: float [H W 3], the sky with its landmark."""
    behind = np.broadcast_to(picture.sky, picture.frame.shape).copy()
    if landmark is not None:
        x, y = picture.x - at * picture.x.shape[1], picture.y - HORIZON * picture.x.shape[0]
        behind[landmark_distance(landmark, x, y, picture.side) < 0] = palette.LANDMARK[landmark]
    return behind


def _find_hat(picture: _Picture, body: _Body, behind: np.ndarray) -> str | None:
    """The hat on a body: what its place above the body is most like."""
    inside = (body.hat_distance < -0.3) & (body.distance > 0.3)
    if inside.sum() < LEAST_HAT:
        return None
    found = picture.frame[inside]
    away = {name: float(_distance(found, hat).mean()) for name, hat in palette.HAT.items()}
    away["none"] = float(np.sqrt(np.square(found - behind[inside]).sum(-1)).mean())
    first, second = sorted(away, key=away.get)[:2]
    return first if away[first] < HAT_CLEARLY * away[second] else None


def _find_sun(picture: _Picture, covered: np.ndarray) -> tuple[str | None, float | None]:
    """On which side the sun is, and where, in widths."""
    height, width = covered.shape
    white = picture.near(palette.SUN) & (picture.y < 0.34 * height) & ~covered
    whole = np.pi * (SUN_RADIUS * picture.side) ** 2
    left = float(white[:, : width // 2].sum() / whole)
    right = float(white[:, width // 2 :].sum() / whole)
    if max(left, right) < 0.12:
        return "none", None
    if min(left, right) > 0.5 * max(left, right) or max(left, right) < 0.3:
        return None, None
    return "left" if left > right else "right", float(picture.x[white].mean() / width)


def _find_landmark(picture: _Picture, covered: np.ndarray) -> tuple[str | None, float | None]:
    """Which landmark stands on the horizon, and where, in widths: the one whose shape is best filled by its colour."""
    height, width = covered.shape
    best = {name: (np.inf, 0.0) for name in palette.LANDMARK}
    for at in _places(width):
        x, y = picture.x - at, picture.y - HORIZON * height
        for name, colour in palette.LANDMARK.items():
            inside = (landmark_distance(name, x, y, picture.side) < -0.5) & (y < -0.5) & ~covered
            if inside.sum() >= SMALLEST_PART * (picture.side / 32) ** 2:
                away = float(_distance(picture.frame[inside], colour).mean())
                best[name] = min(best[name], (away, at / width))
    first, second = sorted(best, key=best.get)[:2]
    if best[first][0] > OFF or best[first][0] > CLEARLY * best[second][0]:
        return None, None
    return first, best[first][1]


def _places(width: int) -> np.ndarray:
    """Where a landmark may stand, pixel by pixel: on either side, and where a pan may take it."""
    around = np.arange(-0.12 * width, 0.12 * width + 0.5)
    return np.concatenate([side * width + around for side in (LANDMARK_AT, 1.0 - LANDMARK_AT)])


def _nearest(colour: np.ndarray, named: Mapping[str, tuple[int, int, int]]) -> str | None:
    first = min(named, key=lambda name: _distance(colour, named[name]))
    return first if _distance(colour, named[first]) < FAR else None


def _distance(colours: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    return np.sqrt(np.square(colours - np.asarray(colour, np.float64)).sum(axis=-1))


def _span(places: np.ndarray) -> slice:
    """From one before the first to one behind the last."""
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)
