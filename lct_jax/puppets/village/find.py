"""Finds villagers in a frame: tries drawn ones in every framing and place, and keeps the one that explains most."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lct_jax.puppets.village.compare import find_errors, find_nearest
from lct_jax.puppets.village.labels import COLOURS, Villager
from lct_jax.puppets.village.render import (
    BODY,
    FEET,
    CutOut,
    Figure,
    Light,
    Pose,
    add_figure,
    draw_cut_out,
    find_crop,
)

# A villager is looked at if it explains this share of what tells it from the place behind it, while most of its
# attributes are guesses.
GUESSED = 0.02
STAND, LEFT, RIGHT, WAVE = Pose(), Pose(1.0, -1.0), Pose(1.0, 1.0), Pose(wave=0.55)
POSES = (STAND, LEFT, RIGHT, WAVE)


@dataclasses.dataclass(frozen=True)
class Found:
    """Describes a villager as the reader would draw it."""

    who: Villager
    figure: Figure
    expression: str

    def change(self, name: str, value: str) -> Found:
        """Returns it with another attribute, or another expression."""
        if name == "expression":
            return dataclasses.replace(self, expression=value)
        return dataclasses.replace(self, who=dataclasses.replace(self.who, **{name: value}))

    def move(self, **places: Any) -> Found:
        """Returns it at another place, or in another pose."""
        return dataclasses.replace(self, figure=dataclasses.replace(self.figure, **places))

    def settle(self, frame: np.ndarray, behind: np.ndarray, light: Light) -> Found:
        """Returns it in the pose and at the place near its own that are nearest to the frame."""
        part = crop_of(self, frame.shape[:2])
        draw = lambda found: compose(behind, found, light)[part]
        near = lambda tries: find_nearest(frame[part], tries, draw)
        best = near(self.move(pose=pose) for pose in POSES)
        for step in (1.0, 0.5):
            x, feet = best.figure.x, best.figure.feet
            best = near(best.move(x=x + step * dx) for dx in (0.0, -1.0, 1.0))
            best = near(best.move(feet=feet + step * dy) for dy in (0.0, -1.0, 1.0))
        return best


def compose(behind: np.ndarray, found: Found, light: Light) -> np.ndarray:
    """Returns a frame with a villager painted onto it."""
    frame = behind.copy()
    add_figure(frame, found.who, found.figure, found.expression, light)
    return frame


def crop_of(found: Found, size: tuple[int, ...]) -> tuple[slice, slice]:
    """Returns the rows and columns of a frame that a villager may cover."""
    figure = found.figure
    where = find_crop(figure.x, figure.feet, figure.tall, size)
    return where or (slice(0, size[0]), slice(0, size[1]))


def find_villager(
    frame: np.ndarray, behind: np.ndarray, light: Light, taken: Collection[str]
) -> Found | None:
    """Returns the villager that explains most of what the place behind it does not; None if none explains enough.

    Args:
        frame, behind: float32 [H W 3] in 0..1. taken: the colours of others, which are not looked for.
    """
    tries = []
    for framing, colour in ((f, c) for f in BODY for c in COLOURS if c not in taken):
        found, width = _start(framing, colour, frame.shape[:2]), frame.shape[1]
        places = [(dx, 0) for dx in range(-width // 2 + 8, width // 2 - 8, 2)]
        tries.append(slide(frame, behind, found, light, places))
    best = max(tries, key=lambda tried: tried.gain)
    return best.found if best.share > GUESSED else None


def find_share(frame: np.ndarray, behind: np.ndarray, found: Found, light: Light) -> float:
    """Returns how much of what tells a villager from the place behind it explains the frame: 1 for a drawn frame."""
    return slide(frame, behind, found, light, [(0, 0)]).share


class Slid(NamedTuple):
    """Holds the best place of a villager, by how much it explains there, and the share of all it could explain."""

    found: Found
    gain: float
    share: float


def slide(
    frame: np.ndarray,
    behind: np.ndarray,
    found: Found,
    light: Light,
    places: Iterable[tuple[int, int]],
) -> Slid:
    """Moves a villager by whole pixels (right, down), and returns where it explains most."""
    drawn = draw_cut_out(found.who, found.figure, found.expression, light, frame.shape[:2])
    if drawn is None:
        return Slid(found, 0.0, 0.0)
    unexplained = find_errors(frame, behind)
    best = Slid(found, -np.inf, 0.0)
    for dx, dy in places:
        for rows, columns, colour, cover in _moved(drawn, dx, dy, frame.shape[:2]):
            painted = behind[rows, columns] * (1.0 - cover[..., None]) + colour
            left = find_errors(frame[rows, columns], painted)
            gain = float((unexplained[rows, columns] - left).sum())
            if gain > best.gain:
                whole = float(find_errors(painted, behind[rows, columns]).sum())
                figure = found.figure
                place = found.move(x=figure.x + dx, feet=figure.feet + dy, ground=figure.ground)
                best = Slid(place, gain, gain / max(whole, 1e-6))
    return best


def _start(framing: str, colour: str, size: tuple[int, ...]) -> Found:
    """Returns a villager in the middle of a frame, whose attributes are between those that others may have."""
    height, width = size
    feet = FEET[framing] * height
    figure = Figure(width / 2, feet, feet, BODY[framing] * height, STAND)
    return Found(Villager(colour, "plain", "none", "ginger", "tan", "navy"), figure, "smiling")


def _moved(drawn: CutOut, dx: int, dy: int, size: tuple[int, ...]) -> Iterator[CutOut]:
    """Yields a cut-out moved by whole pixels, without what is then outside of the frame."""
    top, left = drawn.rows.start + dy, drawn.columns.start + dx
    bottom, right = drawn.rows.stop + dy, drawn.columns.stop + dx
    rows, columns = (
        slice(max(top, 0), min(bottom, size[0])),
        slice(max(left, 0), min(right, size[1])),
    )
    if rows.start < rows.stop and columns.start < columns.stop:
        own = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        yield CutOut(rows, columns, drawn.colour[own], drawn.cover[own])
