"""Finds bodies and hats in a frame: characters by colour, their shape by fitted templates, hats by colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lct_jax.puppets import palette
from lct_jax.puppets.picture import Picture, colour_distance
from lct_jax.puppets.render import HORIZON, distance_of, hat_distance
from lct_jax.puppets.scene import SHAPES

SMALLEST = 30.0  # pixels of a body's own colour at 32 pixels of height; the smallest body has 82
# A body fills at least this share of the rectangle around it; a triangle fills half.
COMPACT = 0.2
# A template that differs by more than this share of a body's area is not its shape.
MISFIT = 0.5
# The best template must be better than the next one by this share of the area.
MARGIN = 0.03
# A hat is recognised if its colour is nearer than this share of the distance to the next one.
HAT_CLEARLY = 0.65
LEAST_HAT = 5  # pixels of a hat that must be visible above a body
AREA = {"circle": np.pi / 4, "square": 0.81, "triangle": 0.5}  # areas of bodies of height 1
CENTRE = {"circle": 0.5, "square": 0.45, "triangle": 1 / 3}  # centres of mass, above the feet


@dataclass(frozen=True)
class Body:
    """Describes a body: its shape (None: unclear), its place, and the distance of every pixel to it and to a hat
    on it."""

    colour: str
    shape: str | None
    x: float
    feet: float
    size: float
    place: np.ndarray
    distance: np.ndarray
    hat_distance: np.ndarray


def find_body(picture: Picture, colour: str) -> Body | None:
    """Returns the body of a colour; None if there is none."""
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
    clear = best.misfit < MISFIT and fits[second].misfit - best.misfit > MARGIN
    where = (first, picture.x - best.x, picture.y - best.feet, best.size)
    return Body(
        colour, first if clear else None, best.x, best.feet, best.size, place,
        distance_of(*where), hat_distance(*where),
    )  # fmt: skip


class _Fit(NamedTuple):
    """Holds the misfit of a cover to the best placed shape, in areas, and the place."""

    misfit: float
    x: float
    feet: float
    size: float


def _fit(picture: Picture, shape: str, cover: np.ndarray) -> _Fit:
    """Tries sizes and heights around those of the same area and centre, with a hat and without."""
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


def find_hat(picture: Picture, body: Body, behind: np.ndarray) -> str | None:
    """Returns the hat on a body: the one that the place above the body is most like."""
    inside = (body.hat_distance < -0.3) & (body.distance > 0.3)
    if inside.sum() < LEAST_HAT:
        return None
    found = picture.frame[inside]
    away = {name: float(colour_distance(found, hat).mean()) for name, hat in palette.HAT.items()}
    away["none"] = float(np.sqrt(np.square(found - behind[inside]).sum(-1)).mean())
    first, second = sorted(away, key=away.get)[:2]
    return first if away[first] < HAT_CLEARLY * away[second] else None


def _cover(picture: Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """Returns float [H W]: how much of each pixel has a colour, if the rest is sky or ground."""
    above = picture.y < HORIZON * picture.frame.shape[0]
    behind = np.where(above[..., None], picture.sky, picture.ground)
    whole = np.maximum(colour_distance(behind, colour), 1.0)
    return np.clip(1.0 - colour_distance(picture.frame, colour) / whole, 0.0, 1.0)


def _span(places: np.ndarray) -> slice:
    """Returns the range from one before the first to one after the last."""
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)
