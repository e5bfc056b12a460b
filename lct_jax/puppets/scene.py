"""Draws puppet scenes from a seed, of any world: what a world's scenes are made of is in its `Labels`.

A `PuppetScene` says who plays, where, and what happens in every shot. Labels are drawn first, and pictures and words
are made from them, as in Moving MNIST (arXiv 1502.04681) and CLEVRER (arXiv 1910.01442). Any attribute may be withheld:
it is then drawn, and shown in every shot, but no text mentions it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

SKIES = ("blue", "orange", "dark", "grey")
GROUNDS = ("green", "sandy", "snowy", "brown")
SUNS = ("left", "right", "none")
LANDMARKS = ("tree", "hut", "tower")
COLOURS = ("red", "blue", "pink", "yellow")
SHAPES = ("circle", "square", "triangle")
HATS = ("black", "white", "none")
# These map each attribute to its values, for an environment and for a character.
OF_ENVIRONMENT = {"sky": SKIES, "ground": GROUNDS, "sun": SUNS, "landmark": LANDMARKS}
OF_CHARACTER = {"colour": COLOURS, "shape": SHAPES, "hat": HATS}
FRAMINGS = ("wide", "medium", "close")
ACTIONS = ("stands", "walks left", "walks right", "jumps", "pans left", "pans right")
# In an empty place, and around two characters, only the camera acts.
OF_CAMERA = ("stands", "pans left", "pans right", "zooms in", "zooms out")
SIZES = ((32, 32), (32, 40), (40, 32))  # height and width of a frame in pixels
FRAMES = (5, 9)  # frames of a shot

STEP = {"walks left": -0.3, "walks right": 0.3}  # way of a character, in widths of a frame
TURN = {"pans left": -0.2, "pans right": 0.2}  # way of the camera, in widths of a frame


@dataclass(frozen=True)
class Environment:
    """Describes where a scene plays; the landmark stands on the side where the sun is not."""

    sky: str
    ground: str
    sun: str
    landmark: str


@dataclass(frozen=True)
class Character:
    """Describes a character; no two characters of a scene share a colour."""

    colour: str
    shape: str
    hat: str


@dataclass(frozen=True)
class PuppetShot:
    """Describes one shot.

    Attributes:
        framing, action: members of `FRAMINGS` and `ACTIONS`. subjects: the numbers of its characters, from 1. frames:
            4n + 1. expression: that of its characters, in worlds that have faces.
        cut: False where it continues the shot before it.
        start: where its only subject stands in the first frame; camera: where the camera points then. Both are in
            widths.
    """

    framing: str
    subjects: tuple[int, ...]
    action: str
    frames: int
    cut: bool
    start: float
    camera: float
    expression: str = ""

    @property
    def end(self) -> float:
        """Returns where its subject stands in the last frame."""
        return self.start + STEP.get(self.action, 0.0)

    @property
    def camera_end(self) -> float:
        """Returns where the camera points in the last frame."""
        return self.camera + TURN.get(self.action, 0.0)


@dataclass(frozen=True)
class PuppetScene:
    """Describes one scene by its labels, `name` and seed included.

    Attributes:
        size: height and width of its frames. environment, characters: those of its world.
        withheld: attributes that no text mentions, such as "sky" or "1.hat". world: the name of its world.
    """

    name: str
    seed: tuple[int, int]
    size: tuple[int, int]
    environment: Any
    characters: tuple[Any, ...]
    shots: tuple[PuppetShot, ...]
    withheld: frozenset[str]
    world: str = "puppets"

    def attributes(self) -> dict[str, str]:
        """Returns every attribute and its value; those of character n are called "n.colour", "n.shape", "n.hat"."""
        values = dict(vars(self.environment))
        for number, character in enumerate(self.characters, start=1):
            values |= {f"{number}.{name}": value for name, value in vars(character).items()}
        return values


class Labels(NamedTuple):
    """Says what the scenes of a world are made of.

    Attributes:
        world: its name. environment, character: dataclasses of attributes, whose values `of_environment` and
            `of_character` list; a character has a colour. actions: what may happen in each framing.
        expressions: of characters; none in a world without faces.
    """

    world: str
    environment: type
    character: type
    of_environment: Mapping[str, Sequence[str]]
    of_character: Mapping[str, Sequence[str]]
    actions: Mapping[str, Sequence[str]]
    expressions: Sequence[str] = ()


PUPPETS = Labels(
    "puppets",
    Environment,
    Character,
    OF_ENVIRONMENT,
    OF_CHARACTER,
    {"wide": ACTIONS, "medium": ACTIONS, "close": ("stands",)},
)


@dataclass(frozen=True)
class Drawing:
    """Says what scenes are drawn: a range of shot counts, the chance that an attribute is withheld, sizes and lengths.

    Attributes:
        sizes, frames: all are equally likely; one that is listed twice counts twice.
        absence: 0, or the number of shots without character 1, who leaves after the first shot and returns after them.
        cast: the fewest and the most characters of a scene of several shots; a single shot has one.
    """

    shots: tuple[int, int] = (1, 9)
    withhold: float = 0.5
    sizes: Sequence[tuple[int, int]] = SIZES
    frames: Sequence[int] = (*4 * FRAMES[:1], *FRAMES[1:])
    absence: int = 0
    cast: tuple[int, int] = (1, 2)


def draw_scene(seed: int, number: int, drawing: Drawing, labels: Labels = PUPPETS) -> PuppetScene:
    """Returns scene `number` of a seed, which is the same on every machine, whatever else is drawn."""
    rng = np.random.default_rng([seed, number])
    size = drawing.sizes[rng.integers(len(drawing.sizes))]
    environment = labels.environment(**_draw_values(rng, labels.of_environment))
    count = int(rng.integers(drawing.shots[0], drawing.shots[1] + 1))
    cast = _draw_cast(rng, drawing, count)
    characters = _draw_characters(rng, cast, labels)
    shots: list[PuppetShot] = []
    for who in _draw_subjects(rng, count, cast, drawing.absence):
        before = shots[-1] if shots else None
        shots.append(_draw_shot(rng, who, before, drawing.frames, labels))
    own = [f"{n}.{name}" for n in range(1, cast + 1) for name in labels.of_character]
    withheld = frozenset(
        name for name in (*labels.of_environment, *own) if rng.random() < drawing.withhold
    )
    return PuppetScene(
        f"{labels.world}_{seed}_{number:06d}",
        (seed, number),
        size,
        environment,
        characters,
        tuple(shots),
        withheld,
        labels.world,
    )


def _draw_values(rng: np.random.Generator, table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: values[rng.integers(len(values))] for name, values in table.items()}


def _draw_cast(rng: np.random.Generator, drawing: Drawing, count: int) -> int:
    # While character 1 is away, the scene needs another one.
    if drawing.absence:
        return 2
    low, high = drawing.cast
    return 1 if count == 1 else int(rng.integers(low, high + 1))


def _draw_characters(rng: np.random.Generator, count: int, labels: Labels) -> tuple[Any, ...]:
    colours = rng.permutation(labels.of_character["colour"])[:count].tolist()
    others = {name: values for name, values in labels.of_character.items() if name != "colour"}
    return tuple(labels.character(colour=colour, **_draw_values(rng, others)) for colour in colours)


def _draw_subjects(
    rng: np.random.Generator, count: int, cast: int, absence: int
) -> list[tuple[int, ...]]:
    """Returns the characters in each shot; a character comes and goes, and some shots show none or both."""
    if absence:
        others = [(2,) if rng.random() < 0.8 else () for _ in range(absence)]
        after = [(1,) if rng.random() < 0.7 else (2,) for _ in range(count)]
        return [(1,), *others, (1,), *after][: max(count, absence + 2)]
    if count == 1:
        return [(1,) if rng.random() < 0.9 else ()]
    choices, chances = [(1,), ()], [0.88, 0.12]
    if cast == 2:
        choices, chances = [(1,), (2,), (1, 2), ()], [0.4, 0.4, 0.1, 0.1]
    return [choices[rng.choice(len(choices), p=chances)] for _ in range(count)]


def _draw_shot(
    rng: np.random.Generator,
    who: tuple[int, ...],
    before: PuppetShot | None,
    lengths: Sequence[int],
    labels: Labels,
) -> PuppetShot:
    frames = lengths[rng.integers(len(lengths))]
    goes_on = (
        before is not None
        and who == before.subjects
        and len(who) == 1
        and before.framing != "close"
        and not before.action.startswith("zooms")
        and rng.random() < 0.5
    )
    if goes_on:
        start, camera = before.end, before.camera_end
        possible = labels.actions[before.framing]
        action = _choose(rng, [a for a in possible if _stays_inside(a, start, camera)])
        return PuppetShot(
            before.framing, who, action, frames, False, start, camera, before.expression
        )
    framing = _choose(rng, _framings(who, before))
    possible = labels.actions[framing]
    action = _choose(rng, possible) if len(possible) > 1 else possible[0]
    if len(who) != 1 and action not in OF_CAMERA:
        action = "stands"
    start = 0.5 - STEP.get(action, 0.0) / 2 + rng.uniform(-0.05, 0.05)
    expression = _choose(rng, labels.expressions) if who and labels.expressions else ""
    camera = -TURN.get(action, 0.0) / 2
    return PuppetShot(framing, who, action, frames, True, start, camera, expression)


def _framings(who: tuple[int, ...], before: PuppetShot | None) -> list[str]:
    """Returns the framings that a cut may lead to: two characters fit a wide shot alone, and a cut must be visible."""
    if len(who) != 1:
        return ["wide"]
    same = before is not None and before.subjects == who
    return [framing for framing in FRAMINGS if not (same and framing == before.framing)]


def _stays_inside(action: str, start: float, camera: float) -> bool:
    end, camera_end = start + STEP.get(action, 0.0), camera + TURN.get(action, 0.0)
    return 0.15 < end - camera_end < 0.85 and abs(camera_end) < 0.11


def _choose(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[rng.integers(len(values))]
