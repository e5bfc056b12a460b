"""Decides which sets a run draws from, which role each has, and its share of the samples.

    --data=DIR                                one set
    --data=scenes=DIR,single=DIR2:0.5         scenes from one set, half of all samples from a set of single shots

A set with the role `scenes` gives scenes, one with the role `single` gives single shots; a set may be named under both.
In a set without a role, scenes of one shot are single-shot data and all others are scene data. Shots of scene data are
drawn as single shots only where `data.singles_from_scenes` asks for it (LCT supplement A.1: the two are different
data, 1 to 1). A number behind a set is its share of all samples; sets without one divide what is left of their role in
proportion to what they hold, and `data.single_weight` divides the roles where shares do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from lct_jax.config import DataConfig
from lct_jax.data.sets.lengths import NAMES_PEOPLE, SPLITS, LengthTable
from lct_jax.errors import InputError
from lct_jax.paths import local_path

ROLES = ("scenes", "single")
# Shares are decimal numbers that somebody typed, and ten shares of 0.1 must add up to one.
_TOLERANCE = 1e-6
_NEXT_SET = re.compile(rf",(?=(?:{'|'.join(ROLES)})=)")


@dataclass(frozen=True)
class SetChoice:
    """Names one set as the command line does: its folder, its role, and its share of all samples (None if not
    given)."""

    folder: str
    role: str | None = None
    share: float | None = None


class SetPart(NamedTuple):
    """Names a set within the joined table of lengths: its scenes have the numbers `start` to `stop - 1`."""

    choice: SetChoice
    start: int
    stop: int


class Pool(NamedTuple):
    """Holds what one set gives to one role: its share of that role's samples, and the numbers of shots or scenes."""

    share: float
    members: np.ndarray


class Mix(NamedTuple):
    """Holds the share of single shots among all samples, and the pools of both roles (the shares of a role's pools sum
    to 1).

    `missing` is a line that says that one role has no held-out data and the other one is used for both, else "".
    """

    single_share: float
    single: tuple[Pool, ...]
    scenes: tuple[Pool, ...]
    missing: str = ""


def define_data(help: str, *, required: bool = False) -> flags.FlagHolder:
    """Defines the flag `--data`, which holds its text; what is wrong with that is said before any work is done."""
    return flags.DEFINE(
        _DataText(), "data", None, help, required=required, serializer=flags.ArgumentSerializer()
    )


class _DataText(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        parse_data(argument)
        return argument

    def flag_type(self) -> str:
        return "prepared sets"


def parse_data(text: str) -> tuple[SetChoice, ...]:
    """Returns the sets that the value of `--data` names.

    A text without a role is one folder, whatever characters its name has. A folder that exists under the whole of
    `NAME:NUMBER` is that folder, and its share is not stated.

    Raises:
        InputError: a role without a folder, a share that is not above 0 and at most 1, or a path that is remote.
    """
    if not text.startswith(tuple(f"{role}=" for role in ROLES)):
        return (SetChoice(local_path(text, "--data")),)
    return tuple(_parse_choice(part) for part in _NEXT_SET.split(text))


def make_mix(
    parts: Sequence[SetPart], lengths: LengthTable, config: DataConfig, *, split: str
) -> Mix:
    """Returns what is drawn from which set in a split.

    Raises:
        InputError: the split has no scene, shares do not fit together, or a role that has a share has no data.
    """
    lengths.scenes_of(split)
    found = {
        role: [pair for pair in _find_members(role, parts, lengths, config, split) if len(pair[1])]
        for role in ROLES
    }
    single, missing = _find_single_share(parts, config), ""
    _check_each_is_drawn(parts, {"single": single, "scenes": 1.0 - single})
    if split == "held_out" and bool(found["single"]) != bool(found["scenes"]):
        only = 1.0 if found["single"] else 0.0
        if single != only:
            names = ("scene", "single shots") if only else ("single shot", "scenes")
            missing = "no held-out {}, the run is validated on {} alone".format(*names)
        single = only
    for role, share in (("single", single), ("scenes", 1.0 - single)):
        if share > 0.0 and not found[role]:
            raise InputError(_explain_missing(role, parts, share, split))
    return Mix(
        single, _divide(found["single"], single), _divide(found["scenes"], 1.0 - single), missing
    )


def draw_member(pools: Sequence[Pool], rng: np.random.Generator) -> int:
    """Returns the number of a shot or scene: a set is drawn by its share, then one of its members, all equally likely.

    A single set uses no number of the random stream for the draw of the set.
    """
    place = 0 if len(pools) == 1 else int(rng.choice(len(pools), p=[pool.share for pool in pools]))
    return int(rng.choice(pools[place].members))


def count_unusable(parts: Sequence[SetPart], lengths: LengthTable) -> list[str]:
    """Returns a line for each `single` set with shots whose prompts name characters that nothing in them describes."""
    lines = []
    for part in parts:
        shots = _shots(lengths, np.arange(part.start, part.stop))
        left_out = int((lengths.shot_alone[shots] == NAMES_PEOPLE).sum())
        if part.choice.role == "single" and left_out:
            lines.append(
                f"{part.choice.folder}: {left_out} of {len(shots)} shots have prompts that name people whom only "
                "their scene describes, they are not drawn as single shots"
            )
    return lines


def _parse_choice(text: str) -> SetChoice:
    role, _, folder = text.partition("=")
    name, colon, number = folder.rpartition(":")
    share = None
    if (
        colon
        and not Path(folder).expanduser().exists()
        and re.fullmatch(r"[-+.\dEe]+|nan|inf", number)
    ):
        folder, share = name, _parse_share(text, number)
    if not folder:
        raise InputError(f"--data: found {text!r}, expected a folder behind {role}=")
    return SetChoice(local_path(folder, "--data"), role, share)


def _parse_share(text: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = float("nan")
    if not 0.0 < share <= 1.0:
        raise InputError(
            f"--data: found share {number} in {text!r}, expected more than 0 and at most 1"
        )
    return share


def _find_members(
    role: str, parts: Sequence[SetPart], lengths: LengthTable, config: DataConfig, split: str
) -> list[tuple[SetChoice, np.ndarray]]:
    """Returns the shots (role "single") or scenes that each set gives to a role."""
    members = []
    for part in parts:
        if part.choice.role not in (None, role):
            continue
        scenes = np.arange(part.start, part.stop)
        scenes = scenes[lengths.scene_split[scenes] == SPLITS.index(split)]
        counts = np.diff(lengths.scene_start)[scenes]
        if part.choice.role is None and not config.singles_from_scenes:
            scenes = scenes[(counts == 1) == (role == "single")]
        if role == "single":
            shots = _shots(lengths, scenes)
            as_asked = part.choice.role is None and config.singles_from_scenes
            stands_alone = lengths.shot_alone[shots] != NAMES_PEOPLE
            members.append((part.choice, shots if as_asked else shots[stands_alone]))
        else:
            members.append((part.choice, scenes))
    return members


def _shots(lengths: LengthTable, scenes: np.ndarray) -> np.ndarray:
    """Returns the numbers of the shots of some scenes, in order."""
    first, count = lengths.scene_start[scenes], np.diff(lengths.scene_start)[scenes]
    # Each shot's place in its scene is its place among all, less that of the scene's first shot.
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(first, count) + place


def _find_single_share(parts: Sequence[SetPart], config: DataConfig) -> float:
    """Returns the share of single shots among all samples: from shares of whole roles, else from the config."""
    stated, whole = {}, {}
    for role in ROLES:
        shares = [part.choice.share for part in parts if part.choice.role in (role, None)]
        stated[role] = sum(share or 0.0 for share in shares)
        whole[role] = bool(shares) and None not in shares
    if max(*stated.values(), sum(stated.values())) > 1.0 + _TOLERANCE:
        raise InputError(f"--data: shares sum to {sum(stated.values()):g}, expected at most 1")
    if whole["single"] and whole["scenes"] and abs(sum(stated.values()) - 1.0) > _TOLERANCE:
        raise InputError(f"--data: shares sum to {sum(stated.values()):g}, expected 1")
    roles = {part.choice.role for part in parts}
    if len(roles) == 1 and whole.get(next(iter(roles))):
        role = next(iter(roles))
        if abs(stated[role] - 1.0) > _TOLERANCE:
            raise InputError(
                f"--data: shares sum to {stated[role]:g}, expected 1 without a set of the other role"
            )
        return 1.0 if role == "single" else 0.0
    if whole["single"]:
        return stated["single"]
    if whole["scenes"]:
        return max(0.0, 1.0 - stated["scenes"])
    single = config.single_weight
    for role, limit in (("single", single), ("scenes", 1.0 - single)):
        if stated[role] > limit + _TOLERANCE:
            raise InputError(
                f"--data: shares of {role} sets sum to {stated[role]:g}, expected at most {limit:g} "
                f"(data.single_weight is {single:g})"
            )
    return single


def _check_each_is_drawn(parts: Sequence[SetPart], role_shares: Mapping[str, float]) -> None:
    """Raises InputError where stated shares leave nothing for a set that is named without one."""
    if not any(part.choice.share for part in parts):
        return
    for role, role_share in role_shares.items():
        choices = [part.choice for part in parts if part.choice.role == role]
        rest = role_share - sum(choice.share or 0.0 for choice in choices)
        without = [choice.folder for choice in choices if choice.share is None]
        if without and rest <= _TOLERANCE:
            raise InputError(
                f"--data: found nothing left for {role}={without[0]}, expected a share of its own, or a smaller one "
                f"of the other sets ({role} have {role_share:g} of all samples)"
            )


def _divide(members: Sequence[tuple[SetChoice, np.ndarray]], role_share: float) -> tuple[Pool, ...]:
    """Returns the pools of one role, with shares as stated, and the rest divided in proportion to what the other sets
    hold."""
    if not members or role_share <= 0.0:
        return tuple(Pool(1.0 / len(members), numbers) for _, numbers in members)
    stated = [choice.share for choice, _ in members]
    rest = max(0.0, role_share - sum(share or 0.0 for share in stated))
    held = sum(len(numbers) for choice, numbers in members if choice.share is None)
    shares = np.array([
        rest * len(numbers) / held if choice.share is None else choice.share
        for choice, numbers in members
    ])  # fmt: skip
    return tuple(
        Pool(float(share), numbers)
        for share, (_, numbers) in zip(shares / shares.sum(), members, strict=True)
    )


def _explain_missing(role: str, parts: Sequence[SetPart], share: float, split: str) -> str:
    folders = ", ".join(dict.fromkeys(part.choice.folder for part in parts))
    if role == "scenes":
        return (
            f"--data: found no {split} scene of two or more shots in {folders}, expected some for a share "
            f"of {share:g}: name a set (--data=scenes=DIR,..) or set data.single_weight=1"
        )
    return (
        f"--data: found no {split} single-shot data in {folders}, expected some for a share of {share:g}: "
        "name a set (--data=scenes=DIR,single=DIR2), set data.single_weight=0, or take shots of scenes as they are "
        "(data.singles_from_scenes=true)"
    )
