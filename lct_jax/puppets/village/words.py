"""Writes scenes of the village in words, as `lct_jax/puppets/writing.py` says."""

from __future__ import annotations

import numpy as np

from lct_jax.directing.script import Script
from lct_jax.puppets.scene import PuppetScene
from lct_jax.puppets.writing import Vocabulary, choose, write_with

_ACTIONS = {
    "stands": ("stands", "waits"),
    "walks left": ("walks left", "goes left"),
    "walks right": ("walks right", "goes right"),
    "jumps": ("jumps", "leaps"),
    "waves": ("waves", "waves a hand"),
    "pans left": ("stands, camera pans left", "stands, pan left"),
    "pans right": ("stands, camera pans right", "stands, pan right"),
    "zooms in": ("stands, camera zooms in", "stands, zoom in"),
    "zooms out": ("stands, camera zooms out", "stands, zoom out"),
}
_EXPRESSIONS = {
    "smiling": ("smiling", "happily"),
    "sad": ("sadly", "looking sad"),
    "surprised": ("surprised", "looking surprised"),
}
_SKIES = {
    "blue": ("blue sky", "sunny day"),
    "golden": ("golden sky", "sunset"),
    "starry": ("starry sky", "night"),
    "cloudy": ("cloudy sky", "overcast"),
}
_LIGHTS = {
    "left": ("light from the left", "light left"),
    "right": ("light from the right", "light right"),
}


def write_script(scene: PuppetScene) -> Script:
    """Returns the script of a scene; the wording, too, is drawn from its seed."""
    return write_with(_WORDS, scene)


def _describe(rng: np.random.Generator, scene: PuppetScene, number: int) -> str:
    who = vars(scene.characters[number - 1])
    told = {name: v for name, v in who.items() if f"{number}.{name}" not in scene.withheld}
    parts = []
    coat = [told[name] for name in ("colour", "pattern") if name in told]
    if coat:
        parts.append(" ".join([*coat, "coat"]))
    if "hat" in told:
        parts.append("no hat" if told["hat"] == "none" else told["hat"])
    if "hair" in told:
        parts.append(f"{told['hair']} hair")
    if "skin" in told:
        parts.append(f"{told['skin']} skin")
    if "legs" in told:
        parts.append(f"{told['legs']} trousers")
    if not parts:
        return "a villager"
    return (
        f"a villager, {', '.join(parts)}"
        if rng.random() < 0.5
        else f"a villager with {', '.join(parts)}"
    )


def _describe_place(rng: np.random.Generator, scene: PuppetScene) -> str:
    place = scene.environment
    parts = {
        "sky": choose(rng, _SKIES[place.sky]),
        "ground": place.ground,
        "light": choose(rng, _LIGHTS[place.light]),
        "landmark": f"a {place.landmark}",
        "distance": place.distance,
    }
    texts = [text for name, text in parts.items() if name not in scene.withheld]
    if rng.random() < 0.5:
        texts = texts[::-1]
    return ", ".join(texts)


_WORDS = Vocabulary(_ACTIONS, _describe, _describe_place, _EXPRESSIONS)
