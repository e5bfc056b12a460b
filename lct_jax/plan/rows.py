"""Rows that hold one scene of a number of shots, and how many shots train on a topology in such a row."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from lct_jax.config import Config
from lct_jax.plan.remat import SAFE
from lct_jax.plan.search import Option, search
from lct_jax.plan.topology import Topology
from lct_jax.plan.workload import SceneTarget, find_grid, make_scene

# Rows of this many tokens, times the devices along a row, are what kernels and meshes divide well.
MULTIPLE = 256


class Row(NamedTuple):
    """A config whose rows hold one scene, and the fastest setting with which a step of it fits.

    Attributes:
        shots: of the scene.
    """

    shots: int
    config: Config
    option: Option

    def describe(self) -> str:
        """Returns rows and setting as flags of a config."""
        data = self.config.data
        fields = ("rows", "video_tokens", "text_tokens", "groups", "max_shots")
        sizes = [f"--config.data.{field}={getattr(data, field)}" for field in fields]
        return " ".join([*sizes, self.option.describe()])


def find_longest_row(
    config: Config, topology: Topology, target: SceneTarget, *, most: int
) -> Row | None:
    """Returns the row of most shots, up to `most`, that trains on a topology; see `fit_row`."""
    rows = (fit_row(config, topology, target, shots) for shots in range(most, 0, -1))
    return next((row for row in rows if row), None)


def fit_row(config: Config, topology: Topology, target: SceneTarget, shots: int) -> Row | None:
    """Returns a row of so many shots, if it trains on a topology with 5% of its memory to spare.

    There are as many rows as devices, and a group of devices computes one at a time. `target` gives the size of a shot.
    """
    row = fill_row(config, topology, target, shots)
    options = search(row, topology, dataclasses.replace(target, shots=shots))
    room = SAFE * topology.chip.usable
    safe = (option for option in options if option.memory <= room and is_single(option, row))
    best = next(safe, None)
    return best and Row(shots, row, best)


def fill_row(config: Config, topology: Topology, target: SceneTarget, shots: int) -> Config:
    """Returns a config whose rows hold one scene of such a number of shots, with as many rows as there are devices."""
    scene = make_scene(config, shots, find_grid(config, target)[3])
    round_up = lambda tokens: -(-tokens // MULTIPLE) * MULTIPLE
    data = dataclasses.replace(
        config.data,
        rows=topology.devices,
        video_tokens=round_up(sum(group.video for group in scene.groups)),
        # Prompts at their longest.
        text_tokens=round_up(shots * (config.layout.scene_span + config.layout.shot_span)),
        groups=shots + 1,
        max_shots=shots,
    )
    training = dataclasses.replace(config.training, accumulate=1)
    return dataclasses.replace(config, data=data, training=training)


def is_single(option: Option, config: Config) -> bool:
    """Returns whether every group of devices computes one row at a time."""
    return option.accumulate == option.seq and config.data.rows % option.seq == 0
