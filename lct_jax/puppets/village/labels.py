"""Names everything that may differ between two scenes of the village: five attributes of a place, six of a villager,
and what happens in a shot."""

from __future__ import annotations

from dataclasses import dataclass

from lct_jax.puppets.scene import Labels

SKIES = ("blue", "golden", "starry", "cloudy")
GROUNDS = ("meadow", "sand", "snow", "cobbles")
LIGHTS = ("left", "right")
LANDMARKS = ("tree", "house", "windmill", "lighthouse")
DISTANCES = ("mountains", "hills", "sea", "forest")
COLOURS = ("red", "blue", "yellow", "purple", "teal")
PATTERNS = ("plain", "striped", "dotted")
HATS = ("none", "top hat", "beanie", "straw hat")
HAIRS = ("black", "blond", "ginger", "white")
SKINS = ("light", "tan", "dark")
LEGS = ("navy", "white", "brown")
# These map each attribute to its values, for a place and for a villager.
OF_PLACE = {
    "sky": SKIES,
    "ground": GROUNDS,
    "light": LIGHTS,
    "landmark": LANDMARKS,
    "distance": DISTANCES,
}
OF_VILLAGER = {
    "colour": COLOURS,
    "pattern": PATTERNS,
    "hat": HATS,
    "hair": HAIRS,
    "skin": SKINS,
    "legs": LEGS,
}
EXPRESSIONS = ("smiling", "sad", "surprised")
_CAMERA = ("pans left", "pans right", "zooms in", "zooms out")
_MOVES = ("walks left", "walks right", "jumps", "waves")
ACTIONS = {
    "wide": ("stands", *_MOVES, *_CAMERA),
    "medium": ("stands", *_MOVES, *_CAMERA),
    "close": ("stands", "zooms in", "zooms out"),
}
SIZE = (64, 96)  # height and width of a frame in pixels


@dataclass(frozen=True)
class Place:
    """Describes where a scene plays; the landmark stands on the side that the light does not come from."""

    sky: str
    ground: str
    light: str
    landmark: str
    distance: str


@dataclass(frozen=True)
class Villager:
    """Describes a villager; `colour` is that of the coat, and no two villagers of a scene share it."""

    colour: str
    pattern: str
    hat: str
    hair: str
    skin: str
    legs: str


VILLAGE = Labels("village", Place, Villager, OF_PLACE, OF_VILLAGER, ACTIONS, EXPRESSIONS)
