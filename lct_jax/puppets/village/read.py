"""Reads a frame of the village back from its pixels: attributes are None where they are unclear.

The reader knows how the village is drawn and nothing of what was asked for: it finds the place and the camera whose
drawing is nearest to the frame, then villagers before it, and then their attributes one after the other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lct_jax.puppets.read import find_framing
from lct_jax.puppets.village.camera import Camera
from lct_jax.puppets.village.compare import Choice, choose, find_errors, find_nearest
from lct_jax.puppets.village.find import Found, compose, crop_of, find_share, find_villager
from lct_jax.puppets.village.labels import EXPRESSIONS, OF_PLACE, OF_VILLAGER, Place
from lct_jax.puppets.village.render import BEHIND, BODY, SIDE, Light, draw_backdrop

# A frame whose pixels are farther than this from the nearest drawing, in the mean, shows no place.
STRANGE = 0.13
PANS = (-0.225, -0.15, -0.075, 0.0, 0.075, 0.15, 0.225)  # in heights of a frame
MOST_VILLAGERS = 2
# A villager is one if, in its nearest drawing, it explains this share of what tells it from the place behind it.
EXPLAINED = 0.35


@dataclass(frozen=True)
class SeenVillager:
    """Describes a villager in a frame: its attributes, the place of its feet (in widths and heights), its height in
    heights of the frame."""

    colour: str
    pattern: str | None
    hat: str | None
    hair: str | None
    skin: str | None
    legs: str | None
    expression: str | None
    x: float
    feet: float
    size: float
    found: Found

    @property
    def framing(self) -> str:
        """Returns the framing in which a villager's height is nearest to this one."""
        return find_framing(self.size, BODY)


@dataclass(frozen=True)
class SeenFrame:
    """Describes what one frame shows.

    Attributes:
        place, camera: the nearest drawing's, clear or not. known: whether the frame shows a place at all.
    """

    sky: str | None
    ground: str | None
    light: str | None
    landmark: str | None
    distance: str | None
    characters: tuple[SeenVillager, ...]
    place: Place
    camera: Camera
    known: bool


def read_frame(frame_HWc: np.ndarray) -> SeenFrame:
    """Reads one frame, uint8 [height, width, 3]."""
    frame = frame_HWc.astype(np.float32) / 255
    place, camera, choices = _find_place(frame)
    backdrop = draw_backdrop(place, camera, frame.shape[:2])
    light = Light(place.sky, SIDE[place.light])
    known = float(find_errors(frame, backdrop).mean()) < STRANGE
    seen: list[SeenVillager] = []
    behind = backdrop
    while known and len(seen) < MOST_VILLAGERS:
        taken = {villager.colour for villager in seen}
        found = find_villager(frame, behind, light, taken)
        if found is None:
            break
        villager = _read_villager(frame, behind, found, light)
        if find_share(frame, behind, villager.found, light) < EXPLAINED:
            break
        seen.append(villager)
        behind = compose(behind, seen[-1].found, light)
    told = {name: choice.told if known else None for name, choice in choices.items()}
    seen.sort(key=lambda villager: OF_VILLAGER["colour"].index(villager.colour))
    return SeenFrame(**told, characters=tuple(seen), place=place, camera=camera, known=known)


def _find_place(frame: np.ndarray) -> tuple[Place, Camera, dict[str, Choice]]:
    """Returns the place and the camera of the nearest drawing, and how clear every attribute is."""
    size = frame.shape[:2]
    first = Place(*(values[0] for values in OF_PLACE.values()))
    tries = []
    for zoom in BEHIND.values():
        camera = Camera(0.0, zoom)
        place, choices = _read_place(frame, first, camera)
        place, choices = _read_place(frame, place, camera)
        tries.append((choices["landmark"].error, place))
    place = min(tries, key=lambda pair: pair[0])[1]
    cameras = [Camera(pan, zoom) for zoom in BEHIND.values() for pan in PANS]
    draw = lambda camera: draw_backdrop(place, camera, size)
    for _ in range(2):
        camera = find_nearest(frame, cameras, draw)
        place, choices = _read_place(frame, place, camera)
    return place, camera, choices


def _read_place(frame: np.ndarray, place: Place, camera: Camera) -> tuple[Place, dict[str, Choice]]:
    """Chooses every attribute of a place in turn."""
    choices = {}
    for name, values in OF_PLACE.items():
        places = {value: dataclasses.replace(place, **{name: value}) for value in values}
        drawn = {v: draw_backdrop(p, camera, frame.shape[:2]) for v, p in places.items()}
        choices[name] = choose(frame, drawn)
        place = places[choices[name].value]
    return place, choices


def _read_villager(
    frame: np.ndarray, behind: np.ndarray, found: Found, light: Light
) -> SeenVillager:
    """Chooses every attribute of a villager in turn, twice, and its place before."""
    choices: dict[str, Choice] = {}
    for _ in range(2):
        part = crop_of(found, frame.shape[:2])
        found = found.settle(frame, behind, light)
        for name, values in {**OF_VILLAGER, "expression": EXPRESSIONS}.items():
            others = {value: found.change(name, value) for value in values}
            drawn = {v: compose(behind, other, light)[part] for v, other in others.items()}
            choices[name] = choose(frame[part], drawn)
            found = others[choices[name].value]
    height, width = frame.shape[:2]
    told = {name: choice.told for name, choice in choices.items()}
    figure = found.figure
    return SeenVillager(
        **{**told, "colour": found.who.colour},
        x=figure.x / width,
        feet=figure.feet / height,
        size=figure.tall / height,
        found=found,
    )
