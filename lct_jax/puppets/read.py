"""Reading a puppet shot's attributes back from its pixels; None where one cannot tell.

Frames enter, a `SeenFrame` leaves: it is found by colour who is there, by the best of three templates of equal area what
shape, and by colour above its head which hat. Nothing is known of what was asked for: a scene that is rendered and one
that a model made are read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lct_jax.puppets import palette
from lct_jax.puppets.render import (
    BODY,
    HORIZON,
    LANDMARK_HEIGHT,
    SUN_RADIUS,
    distance_of,
    hat_distance,
)
from lct_jax.puppets.scene import SHAPES

NEAR = 60.0  # a pixel has a colour of the palette when it is nearer than this to it, in sRGB bytes
FAR = 75.0  # what covers a whole region and is farther than this from every colour it may have is not told
SMALLEST = 30.0  # pixels of a body's own colour at 32 pixels of height; the smallest body has 82
MISFIT, MARGIN = 0.5, 0.03  # of a shape's template: most of its area, and how much better than the next one
CLEARLY = 0.8  # a hat is told when its colour is nearer by so much than the next one
AREA = {"circle": np.pi / 4, "square": 0.81, "triangle": 0.5}  # of a body of height 1
CENTRE = {"circle": 0.5, "square": 0.45, "triangle": 1 / 3}  # of mass, above its feet


@dataclass(frozen=True)
class SeenCharacter:
    """A body in a frame: its attributes, and where it is (centre of mass, in widths and heights)."""

    colour: str
    shape: str | None
    hat: str | None
    framing: str | None
    x: float
    y: float


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
    height, width = picture.frame.shape[:2]
    characters, covered = [], np.zeros((height, width), bool)
    for colour in palette.CHARACTER:
        found = _find_character(picture, colour)
        if found is not None:
            characters.append(found[0])
            covered |= found[1]
    sun, at_sun = _find_sun(picture, covered)
    landmark, at_landmark = _find_landmark(picture, covered)
    anchor = {"sun": at_sun, "landmark": at_landmark}
    return SeenFrame(
        sky=_nearest(picture.sky, palette.SKY),
        ground=_nearest(picture.ground, palette.GROUND),
        sun=sun,
        landmark=landmark,
        characters=tuple(characters),
        anchor={name: x for name, x in anchor.items() if x is not None},
    )


def _look(frame_HWc: np.ndarray) -> _Picture:
    frame = frame_HWc.astype(np.float64)
    height, width = frame.shape[:2]
    edge = max(2, width // 9)
    low = int(0.75 * height)
    sides = [np.median(part.reshape(-1, 3), axis=0) for part in (frame[low:, :edge], frame[low:, -edge:])]
    best = min(sides, key=lambda colour: min(_distance(colour, c) for c in palette.GROUND.values()))
    return _Picture(
        frame=frame,
        x=np.arange(width)[None] + 0.5 + np.zeros((height, 1)),
        y=np.arange(height)[:, None] + 0.5 + np.zeros((1, width)),
        side=min(height, width),
        sky=np.median(frame[: max(2, height // 10)].reshape(-1, 3), axis=0),
        ground=best,
    )


def _find_character(picture: _Picture, colour: str) -> tuple[SeenCharacter, np.ndarray] | None:
    """A body of a colour, and bool [H W] of what it and its hat may cover; None where there is none."""
    own = picture.near(palette.CHARACTER[colour])
    scale = picture.side / 32
    if own.sum() < SMALLEST * scale**2:
        return None
    rows, columns = (np.flatnonzero(own.sum(axis) >= 2) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    cover = _cover(picture, palette.CHARACTER[colour])
    outside = np.ones_like(own)
    outside[_span(rows), _span(columns)] = False
    cover[outside] = 0.0
    area, height, width = cover.sum(), *own.shape
    x, y = float((cover * picture.x).sum() / area), float((cover * picture.y).sum() / area)
    misfit = {shape: _misfit(picture, shape, cover, area, x, y) for shape in SHAPES}
    first, second = sorted(misfit, key=misfit.get)[:2]
    told = misfit[first] < MISFIT and misfit[second] - misfit[first] > MARGIN
    size = float(np.sqrt(area / AREA[first]))
    framing = min(BODY, key=lambda name: abs(np.log(size / (BODY[name] * picture.side))))
    hat, covers_hat = _find_hat(picture, colour, first, x, y + CENTRE[first] * size, size)
    covered = covers_hat | ~outside
    seen = SeenCharacter(colour, first if told else None, hat, framing, x / width, y / height)
    return seen, covered


def _cover(picture: _Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """float [H W]: how much of each pixel is of a colour, if the rest is of sky or ground."""
    above = picture.y < HORIZON * picture.frame.shape[0]
    behind = np.where(above[..., None], picture.sky, picture.ground)
    whole = np.maximum(_distance(behind, colour), 1.0)
    return np.clip(1.0 - _distance(picture.frame, colour) / whole, 0.0, 1.0)


def _misfit(
    picture: _Picture, shape: str, cover: np.ndarray, area: float, x: float, y: float
) -> float:
    """How far a cover is from a shape of the same area around the same centre, in areas."""
    size = np.sqrt(area / AREA[shape])
    feet = y + CENTRE[shape] * size
    distance = distance_of(shape, picture.x - x, picture.y - feet, size)
    return float(np.abs(np.clip(0.5 - distance, 0.0, 1.0) - cover).sum() / area)


def _find_hat(
    picture: _Picture, colour: str, shape: str, x: float, feet: float, size: float
) -> tuple[str | None, np.ndarray]:
    """The hat on a body, and bool [H W] of where one would be."""
    distance = hat_distance(shape, picture.x - x, picture.y - feet, size)
    inside = distance < -0.4
    if not inside.any():
        return None, inside
    found = picture.frame[inside].mean(axis=0)
    behind = [picture.sky, palette.CHARACTER[colour], *_landmarks_there(picture)]
    away = {name: float(_distance(found, hat)) for name, hat in palette.HAT.items()}
    away["none"] = min(float(_distance(found, other)) for other in behind)
    first, second = sorted(away, key=away.get)[:2]
    told = away[first] < CLEARLY * away[second]
    return first if told else None, distance < 1.5


def _landmarks_there(picture: _Picture) -> list[tuple[int, int, int]]:
    """Colours of landmarks that are anywhere in a picture: one may be all that is behind a head."""
    return [c for c in palette.LANDMARK.values() if picture.near(c, NEAR / 2).sum() >= 6]


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
    """Which landmark stands on the horizon, and where, in widths."""
    height, width = covered.shape
    tall = LANDMARK_HEIGHT * picture.side
    strip = (picture.y < HORIZON * height - 0.5) & (picture.y > HORIZON * height - 1.3 * tall)
    counts, places = {}, {}
    candidates = {**palette.LANDMARK, "sky": tuple(picture.sky)}
    distance = np.stack([_distance(picture.frame, colour) for colour in candidates.values()])
    nearest = distance.argmin(axis=0)
    for number, name in enumerate(palette.LANDMARK):
        mask = (nearest == number) & (distance[number] < NEAR) & strip & ~covered
        counts[name] = float(mask.sum()) / (picture.side / 32) ** 2
        places[name] = float(picture.x[mask].mean() / width) if mask.any() else None
    first, second = sorted(counts, key=counts.get, reverse=True)[:2]
    if counts[first] < 9.0 or counts[second] > 0.5 * counts[first]:
        return None, None
    return first, places[first]


def _nearest(colour: np.ndarray, named: Mapping[str, tuple[int, int, int]]) -> str | None:
    first = min(named, key=lambda name: _distance(colour, named[name]))
    return first if _distance(colour, named[first]) < FAR else None


def _distance(colours: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    return np.sqrt(np.square(colours - np.asarray(colour, np.float64)).sum(axis=-1))


def _span(places: np.ndarray) -> slice:
    """From one before the first to one behind the last."""
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)
