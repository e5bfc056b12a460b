"""Reads several prepared sets as one: their records under one numbering, and the role that each has."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lct_jax.config import BackboneConfig, LayoutConfig
from lct_jax.data.mix import SetChoice, SetPart, parse_data
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.data.sets.records import PreparedSet
from lct_jax.errors import InputError
from lct_jax.files import hash_of

# Fields that all sets of a run must have in common, with their names on the card.
_SHARED = ("codec", "encoder", "channels", "text_width", "fps")


def open_data(text: str) -> PreparedSet | JoinedSets:
    """Opens what the value of `--data` names (`lct_jax.data.mix`).

    Raises:
        InputError: a set is damaged or missing, or two sets do not fit together.
    """
    choices = parse_data(text)
    if len(choices) == 1 and choices[0].role is None:
        return PreparedSet(choices[0].folder)
    return JoinedSets(choices)


class JoinedSets:
    """Reads several prepared sets as one; scenes and shots are numbered consecutively, set after set.

    It has the interface of `PreparedSet` for planning, reading and training, and like it can be sent to worker
    processes.

    Args:
        choices: the sets as named. A folder that is named twice is opened once.

    Raises:
        InputError: a set is damaged or missing, or differs from the first in codec, encoder, a width or the rate.
    """

    def __init__(self, choices: Sequence[SetChoice]) -> None:
        self.sets = {choice.folder: PreparedSet(choice.folder) for choice in choices}
        members = list(self.sets.values())
        for other in members[1:]:
            _check_alike(members[0], other)
        self.folder, self.empty = members[0].folder, members[0].empty
        self.lengths = LengthTable.join([member.lengths for member in members])
        credit = "; ".join(dict.fromkeys(m.card.credit for m in members if m.card.credit))
        self.card = dataclasses.replace(members[0].card, credit=credit)
        self._first_scene = np.cumsum([0, *(len(m.lengths.scene_split) for m in members)])
        self._first_shot = np.cumsum([0, *(len(m.lengths.shot_text) for m in members)])
        places = {folder: number for number, folder in enumerate(self.sets)}
        self.parts = tuple(
            SetPart(choice, *map(int, self._first_scene[place : place + 2]))
            for choice in choices
            for place in [places[choice.folder]]
        )

    @functools.cached_property
    def identity(self) -> str:
        """Returns 16 hex digits, the hash of what the sets hold and of their roles."""
        return hash_of([
            (self.sets[part.choice.folder].identity, part.choice.role, part.choice.share)
            for part in self.parts
        ])  # fmt: skip

    @property
    def scene_names(self) -> list[str]:
        """Returns the names of scenes in the order of their numbers, each after the folder of its set."""
        return [f"{f}:{name}" for f, member in self.sets.items() for name in member.scene_names]

    @property
    def shot_names(self) -> list[str]:
        """Returns the names of shots in the order of their numbers, each after the folder of its set."""
        return [f"{f}:{name}" for f, member in self.sets.items() for name in member.shot_names]

    def check_fits(self, backbone: BackboneConfig, layout: LayoutConfig) -> None:
        """Raises InputError unless latents, patches and texts of every set fit a network and its spans."""
        for member in self.sets.values():
            member.check_fits(backbone, layout)

    def copy_codec(self, folder: Path) -> None:
        """Copies the codec's weights, which all sets share, into the folder of a run."""
        next(iter(self.sets.values())).copy_codec(folder)

    def read_shot(self, shot: int) -> Mapping[str, np.ndarray]:
        """Returns the record of a shot, as stored."""
        member, number = self._find(shot, self._first_shot)
        return member.read_shot(number)

    def read_scene(self, scene: int) -> Mapping[str, np.ndarray]:
        """Returns the record of a scene, as stored."""
        member, number = self._find(scene, self._first_scene)
        return member.read_scene(number)

    def read_latent(self, shot: int, *, clip: int | None, still: int | None) -> np.ndarray:
        """Returns one clip or one still of a shot: float32 [T X Y c]."""
        member, number = self._find(shot, self._first_shot)
        return member.read_latent(number, clip=clip, still=still)

    def read_prompt(self, shot: int, *, alone: bool = False) -> np.ndarray:
        """Returns the prompt of a shot, as `PreparedSet.read_prompt` does: float32 [L E]."""
        member, number = self._find(shot, self._first_shot)
        return member.read_prompt(number, alone=alone)

    def read_global(self, scene: int, *, story: bool) -> np.ndarray:
        """Returns the global prompt of a scene, with or without its story: float32 [L E]."""
        member, number = self._find(scene, self._first_scene)
        return member.read_global(number, story=story)

    def _find(self, number: int, first: np.ndarray) -> tuple[PreparedSet, int]:
        """Returns the set that holds a number, and the number within that set."""
        place = int(np.searchsorted(first, number, side="right")) - 1
        return list(self.sets.values())[place], number - int(first[place])


def _check_alike(first: PreparedSet, other: PreparedSet) -> None:
    for name in _SHARED:
        expected, found = getattr(first.card, name), getattr(other.card, name)
        if found != expected:
            raise InputError(
                f"{other.folder}: made with {name} {found!r}, expected {expected!r} as in {first.folder}"
            )
    if not np.array_equal(first.empty, other.empty):
        raise InputError(
            f"{other.folder}: its empty prompt differs, expected that of {first.folder}"
        )
