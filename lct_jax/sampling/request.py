"""What is to be sampled: a scene's texts as tokens, its shots' sizes, and its given shots.

The sampler takes nothing else, so it does not depend on scripts, files, codecs or encoders.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from lct_jax.config import TextPlace
from lct_jax.layout import GroupPlan, ScenePlan


@dataclass(frozen=True)
class Prompt:
    """A text and its negative, as tokens: float32[L E] each, of any lengths."""

    text: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True)
class ShotLinks:
    """What links a shot to others; a history is chosen by it.

    Attributes:
        characters: IDs that its prompt names.
        place: where it plays, "" if the script does not say.
        shots: numbers (from 0) of the shots that it refers to.
        named: characters and places that it refers to.
        goes_on: whether it goes on from the shot before it.
    """

    characters: frozenset[str] = frozenset()
    place: str = ""
    shots: tuple[int, ...] = ()
    named: frozenset[str] = frozenset()
    goes_on: bool = False


@dataclass(frozen=True)
class ShotRequest:
    """One shot.

    Attributes:
        prompt: its text.
        grid: token grid (T, X, Y).
        given: clean tokens float32[T X Y, C] of a given image or video, None for a shot to generate.
        ties: its links to other shots.
    """

    prompt: Prompt
    grid: tuple[int, int, int]
    given: np.ndarray | None = None
    ties: ShotLinks = ShotLinks()


def is_same(one: Any, other: Any) -> bool:
    """Returns whether two requests, or parts of them, ask for the same, arrays compared by their values."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and bool((one == other).all())
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if not dataclasses.is_dataclass(one):
        return bool(one == other)
    names = [field.name for field in dataclasses.fields(one)]
    return all(is_same(getattr(one, name), getattr(other, name)) for name in names)


@dataclass(frozen=True)
class SceneRequest:
    """One scene.

    Attributes:
        prompt: its global prompt; None for a scene without one, or if text stands beside the video: it is then part of
            the prompt of every shot.
        shots: its shots in order.
        channels: C, the width of a patch.
        text: where text stands.
    """

    prompt: Prompt | None
    shots: tuple[ShotRequest, ...]
    channels: int
    text: TextPlace = "joint"

    def plan(self, shots: tuple[int, ...], *, negative: bool) -> ScenePlan:
        """Returns the sizes of a window of shots, for the guided branch or the negative one."""
        length = lambda prompt: len(prompt.negative if negative else prompt.text)
        return ScenePlan(
            global_text=None if self.prompt is None else length(self.prompt),
            shots=tuple(
                GroupPlan(text=length(self.shots[shot].prompt), grid=self.shots[shot].grid)
                for shot in shots
            ),
            text=self.text,
        )
