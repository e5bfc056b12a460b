"""What is to be sampled: a scene's texts as tokens, its shots' sizes, and its given shots.

The sampler takes nothing else, so it does not depend on scripts, files, codecs or encoders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lct_jax.config import TextPlace
from lct_jax.directing.prompts import Begin
from lct_jax.errors import InputError
from lct_jax.layout import GroupPlan, ScenePlan


class RequestError(InputError):
    """A request that cannot be sampled as it is.

    Attributes:
        complaint: what was found, and what was expected.
        place: where its script says so: a field of a shot (from 0), or all shots.
    """

    def __init__(self, complaint: str, *, shot: int | None = None, name: str = "") -> None:
        super().__init__(f"script: shots{'' if shot is None else f'[{shot}].{name}'}: {complaint}")
        self.complaint = complaint
        self.place = ("shots",) if shot is None else ("shots", shot, name)


class HeldLatent(NamedTuple):
    """Latent frames that are held inside of a shot while the rest of it is denoised.

    Attributes:
        start: the first of them in the shot.
        latent: float32[T X Y c].
        time: the time at which they are held; None takes the config's.
    """

    start: int
    latent: np.ndarray
    time: float | None = None


class ShotLatents(NamedTuple):
    """What is known of a shot before sampling.

    Attributes:
        grid: its size as a latent (T, X, Y).
        given: float32[T X Y c] of a given shot, None for one to generate.
        time: the time at which a given shot is held; None takes the config's.
        held: frames that are held inside of it.
        overlap: how many latent frames at its start are those of the end of the shot before.
    """

    grid: tuple[int, int, int]
    given: np.ndarray | None = None
    time: float | None = None
    held: tuple[HeldLatent, ...] = ()
    overlap: int = 0


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
        is_key: whether it is sampled before those that are no key shots.
        history: the shots (from 0) that it sees besides pictures; None where they are to be chosen.
        picture_of: the character or place of which it is a picture: shots that name neither do not see it; "" for none.
    """

    characters: frozenset[str] = frozenset()
    place: str = ""
    shots: tuple[int, ...] = ()
    named: frozenset[str] = frozenset()
    goes_on: bool = False
    is_key: bool = False
    picture_of: str = ""
    history: tuple[int, ...] | None = None


@dataclass(frozen=True)
class HeldTokens:
    """Tokens that are held inside of a shot: its clean tokens from `start` on, float32[L C], and their time."""

    start: int
    tokens: np.ndarray
    time: float | None = None


@dataclass(frozen=True)
class ShotRequest:
    """One shot.

    Attributes:
        prompt: its text.
        grid: token grid (T, X, Y).
        given: clean tokens float32[T X Y, C] of a given image or video, None for a shot to generate.
        links: its links to other shots.
        time: the time at which it is held if it is given; None takes the config's.
        held: latents that are held inside of it.
        overlap: how many rows of tokens along time at its start are made of the end of the shot before.
        begins: the sampled picture that is held as its first latent frame; None for none.
        seed: of its own noise; None for noise of the scene's key.
        noise: what tells its noise from that of other shots; None takes its number.
    """

    prompt: Prompt
    grid: tuple[int, int, int]
    given: np.ndarray | None = None
    links: ShotLinks = ShotLinks()
    time: float | None = None
    held: tuple[HeldTokens, ...] = ()
    overlap: int = 0
    begins: Begin | None = None
    seed: int | None = None
    noise: int | None = None


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
