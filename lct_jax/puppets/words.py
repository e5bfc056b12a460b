"""Writes puppet scenes in words: the script of a scene, from templates, without the attributes that are withheld.

The result is a `Script` like one that is read from a file. A scene of several shots describes its characters and its
environment once, in the global prompt, and its shots name characters by ID. A scene of one shot has no global prompt:
its caption says everything. Prompts are short, because text tokens cost as much as those of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.puppets.scene import Character, PuppetScene, PuppetShot

_FRAMINGS = {
    "wide": ("Wide shot:", "Wide:", "From afar:"),
    "medium": ("Medium shot:", "Medium:", "Half close:"),
    "close": ("Close-up:", "Close:", "From near:"),
}
_ACTIONS = {
    "stands": ("stands", "stands still", "waits"),
    "walks left": ("walks left", "goes left"),
    "walks right": ("walks right", "goes right"),
    "jumps": ("jumps", "leaps"),
    "pans left": ("stands, camera pans left", "stands, pan left"),
    "pans right": ("stands, camera pans right", "stands, pan right"),
}
_SUNS = {
    "left": ("sun on the left", "sun left"),
    "right": ("sun on the right", "sun right"),
    "none": ("no sun", "sunless"),
}
# Text encoders distinguish these IDs: for MiniLM "Tom" and "Anna" are farther from each other than "1" and "2".
NAMES = {1: "Tom", 2: "Anna"}
_STORIES = {
    1: ("Character Tom is out alone.", "Character Tom takes a walk.", "A day of Character Tom."),
    2: (
        "Character Tom meets Character Anna.",
        "Character Anna looks for Character Tom.",
        "A day of two.",
    ),
}


def write_script(scene: PuppetScene) -> Script:
    """Returns the script of a scene; the wording, too, is drawn from its seed."""
    rng = np.random.default_rng([*scene.seed, 1])
    if len(scene.shots) == 1:
        text = _caption(rng, scene, scene.shots[0])
        return Script(prompt=None, shots=(_shot_prompt(scene.shots[0], text, cut=False),))
    characters = {
        NAMES[number]: _describe(rng, scene, number).capitalize() + "."
        for number in range(1, len(scene.characters) + 1)
    }
    environment = _describe_place(rng, scene)
    prompt = GlobalPrompt(
        characters=characters,
        environment=f"{environment.capitalize()}." if environment else "",
        story=_choose(rng, _STORIES[len(scene.characters)]),
    )
    named = {n: f"Character {NAMES[n]}" for n in range(1, len(scene.characters) + 1)}
    shots = [_shot_prompt(s, _happening(rng, s, named) + ".", cut=s.cut) for s in scene.shots]
    # Captions of shots alone have draws of their own, so that the words of scenes stay as they are.
    alone = np.random.default_rng([*scene.seed, 2])
    shots = (
        replace(written, alone=_caption(alone, scene, shot))
        for written, shot in zip(shots, scene.shots, strict=True)
    )
    return Script(prompt=prompt, shots=tuple(shots))


def _shot_prompt(shot: PuppetShot, text: str, *, cut: bool) -> ShotPrompt:
    return ShotPrompt(text=text, cut=cut, frames=shot.frames)


def _caption(rng: np.random.Generator, scene: PuppetScene, shot: PuppetShot) -> str:
    """Returns a caption that describes everything in a shot alone."""
    named = {n: _describe(rng, scene, n) for n in range(1, len(scene.characters) + 1)}
    place = _describe_place(rng, scene)
    happening = _happening(rng, shot, named)
    return f"{happening}. {place.capitalize()}." if place else f"{happening}."


def _happening(rng: np.random.Generator, shot: PuppetShot, named: dict[int, str]) -> str:
    who = " and ".join(named[number] for number in shot.subjects) or "nobody"
    action = _choose(rng, _ACTIONS[shot.action])
    # In an empty place only the camera acts.
    if not shot.subjects:
        return ", ".join(
            [f"{_choose(rng, _FRAMINGS[shot.framing])} {who}", *action.split(", ")[1:]]
        )
    if len(shot.subjects) > 1:
        action = action.replace("stands", "stand").replace("waits", "wait")
    return f"{_choose(rng, _FRAMINGS[shot.framing])} {who} {action}"


def _describe(rng: np.random.Generator, scene: PuppetScene, number: int) -> str:
    character: Character = scene.characters[number - 1]
    stated = lambda name: f"{number}.{name}" not in scene.withheld
    words = ["a", *([character.colour] if stated("colour") else [])]
    words.append(character.shape if stated("shape") else "puppet")
    text = " ".join(words)
    if not stated("hat"):
        return text
    if character.hat == "none":
        return f"{text}, no hat" if rng.random() < 0.5 else f"{text} without hat"
    return (
        f"{text}, {character.hat} hat" if rng.random() < 0.5 else f"{text} in a {character.hat} hat"
    )


def _describe_place(rng: np.random.Generator, scene: PuppetScene) -> str:
    place, parts = scene.environment, {}
    parts["sky"] = f"{place.sky} sky"
    parts["ground"] = f"{place.ground} ground"
    parts["sun"] = _choose(rng, _SUNS[place.sun])
    parts["landmark"] = f"a {place.landmark}"
    texts = [text for name, text in parts.items() if name not in scene.withheld]
    if rng.random() < 0.5:
        texts = texts[::-1]
    return ", ".join(texts)


def _choose(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[rng.integers(len(values))]
