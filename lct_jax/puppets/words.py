"""Writes scenes of the puppet world in words, as `writing.py` says."""

from __future__ import annotations

import numpy as np

from lct_jax.directing.script import Script
from lct_jax.puppets.scene import Character, PuppetScene
from lct_jax.puppets.writing import Vocabulary, choose, write_with

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


def write_script(scene: PuppetScene) -> Script:
    """Returns the script of a scene; the wording, too, is drawn from its seed."""
    return write_with(_WORDS, scene)


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
    parts["sun"] = choose(rng, _SUNS[place.sun])
    parts["landmark"] = f"a {place.landmark}"
    texts = [text for name, text in parts.items() if name not in scene.withheld]
    if rng.random() < 0.5:
        texts = texts[::-1]
    return ", ".join(texts)


_WORDS = Vocabulary(_ACTIONS, _describe, _describe_place, expressions={})
