"""Writes the scenes of any world in words: the script of a scene, from templates, without the attributes that are
withheld.

The result is a `Script` like one that is read from a file. A scene of several shots describes its characters and its
environment once, in the global prompt, and its shots name characters by ID. A scene of one shot has no global prompt:
its caption says everything. Prompts are short, because text tokens cost as much as those of pictures. What a world
calls things is its `Vocabulary`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.puppets.scene import PuppetScene, PuppetShot

FRAMINGS = {
    "wide": ("Wide shot:", "Wide:", "From afar:"),
    "medium": ("Medium shot:", "Medium:", "Half close:"),
    "close": ("Close-up:", "Close:", "From near:"),
}
# Text encoders distinguish these IDs: for MiniLM "Tom" and "Anna" are farther from each other than "1" and "2".
NAMES = {1: "Tom", 2: "Anna"}
STORIES = {
    1: ("Character Tom is out alone.", "Character Tom takes a walk.", "A day of Character Tom."),
    2: (
        "Character Tom meets Character Anna.",
        "Character Anna looks for Character Tom.",
        "A day of two.",
    ),
}
Describe = Callable[[np.random.Generator, PuppetScene, int], str]


@dataclass(frozen=True)
class Vocabulary:
    """Says what a world calls things.

    Attributes:
        actions, expressions: the phrases for each; one is drawn for a shot.
        describe: returns the words for character number n, from 1. describe_place: those for the environment. Both
            leave out what is withheld, and draw from the generator.
    """

    actions: Mapping[str, Sequence[str]]
    describe: Describe
    describe_place: Callable[[np.random.Generator, PuppetScene], str]
    expressions: Mapping[str, Sequence[str]]


def write_with(vocabulary: Vocabulary, scene: PuppetScene) -> Script:
    """Returns the script of a scene in the words of its world; the wording, too, is drawn from its seed."""
    rng = np.random.default_rng([*scene.seed, 1])
    if len(scene.shots) == 1:
        text = _caption(rng, vocabulary, scene, scene.shots[0])
        return Script(prompt=None, shots=(_shot_prompt(scene.shots[0], text, cut=False),))
    characters = {
        NAMES[number]: vocabulary.describe(rng, scene, number).capitalize() + "."
        for number in range(1, len(scene.characters) + 1)
    }
    environment = vocabulary.describe_place(rng, scene)
    prompt = GlobalPrompt(
        characters=characters,
        environment=f"{environment.capitalize()}." if environment else "",
        story=choose(rng, STORIES[len(scene.characters)]),
    )
    named = {n: f"Character {NAMES[n]}" for n in range(1, len(scene.characters) + 1)}
    shots = [
        _shot_prompt(s, _happening(rng, vocabulary, s, named) + ".", cut=s.cut) for s in scene.shots
    ]
    # Captions of shots alone have draws of their own, so that the words of scenes stay as they are.
    alone = np.random.default_rng([*scene.seed, 2])
    shots = (
        replace(written, alone=_caption(alone, vocabulary, scene, shot))
        for written, shot in zip(shots, scene.shots, strict=True)
    )
    return Script(prompt=prompt, shots=tuple(shots))


def _shot_prompt(shot: PuppetShot, text: str, *, cut: bool) -> ShotPrompt:
    return ShotPrompt(text=text, cut=cut, frames=shot.frames)


def _caption(
    rng: np.random.Generator, vocabulary: Vocabulary, scene: PuppetScene, shot: PuppetShot
) -> str:
    """Returns a caption that describes everything in a shot alone."""
    named = {n: vocabulary.describe(rng, scene, n) for n in range(1, len(scene.characters) + 1)}
    place = vocabulary.describe_place(rng, scene)
    happening = _happening(rng, vocabulary, shot, named)
    return f"{happening}. {place.capitalize()}." if place else f"{happening}."


def _happening(
    rng: np.random.Generator, vocabulary: Vocabulary, shot: PuppetShot, named: dict[int, str]
) -> str:
    who = " and ".join(named[number] for number in shot.subjects) or "nobody"
    action = choose(rng, vocabulary.actions[shot.action])
    # In an empty place only the camera acts.
    if not shot.subjects:
        return ", ".join([f"{choose(rng, FRAMINGS[shot.framing])} {who}", *action.split(", ")[1:]])
    if len(shot.subjects) > 1:
        action = action.replace("stands", "stand").replace("waits", "wait")
    if shot.expression:
        what, *camera = action.split(", ")
        action = ", ".join(
            [f"{what} {choose(rng, vocabulary.expressions[shot.expression])}", *camera]
        )
    return f"{choose(rng, FRAMINGS[shot.framing])} {who} {action}"


def choose(rng: np.random.Generator, values: Sequence[str]) -> str:
    """Returns one of some values, drawn evenly."""
    return values[rng.integers(len(values))]
