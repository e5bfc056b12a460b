"""Holds out scenes that a config names, besides those that their prepared sets hold out.

So scenes can be chosen for validation after a set was made, and a run and its evaluation agree on them: the names are
part of the config that checkpoints and weights carry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from lct_jax.config import DataConfig
from lct_jax.data.joined import JoinedSets
from lct_jax.data.sets.lengths import SPLITS, LengthTable
from lct_jax.data.sets.records import PreparedSet
from lct_jax.errors import InputError


def hold_out(prepared: PreparedSet | JoinedSets, names: Sequence[str]) -> LengthTable:
    """Returns the lengths of a set in which the scenes of some names (`data.hold_out`) are held out, too.

    Raises:
        InputError: no scene has one of the names.
    """
    if not names:
        return prepared.lengths
    members = prepared.sets.values() if isinstance(prepared, JoinedSets) else (prepared,)
    scenes = [name for member in members for name in member.scene_names]
    unknown = sorted(set(names) - set(scenes))
    if unknown:
        raise InputError(
            f"data.hold_out: found {unknown[0]!r}, which is no scene of {prepared.folder}; expected names of its "
            f"scenes, such as {scenes[0]!r}"
        )
    held_out = np.isin(scenes, list(names))
    split = np.where(held_out, SPLITS.index("held_out"), prepared.lengths.scene_split)
    return dataclasses.replace(prepared.lengths, scene_split=split.astype(np.int32))


def find_common(configs: Iterable[DataConfig]) -> tuple[str, ...]:
    """Returns the names that all configs hold out: a scene that one of several models was trained on is not held out
    where they are compared.
    """
    return tuple(sorted(set.intersection(*(set(config.hold_out) for config in configs))))
