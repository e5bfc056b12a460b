"""What `compute.remat="auto"` stands for: the policy that computes least again of those that fit the chips.

Attention is what costs most to compute again, so before it is, the rows of a step are divided into more micro-batches
than `training.accumulate` asks for, which changes gradients by rounding alone. The choice is by the plan's own
estimate, a function of the config, the mesh and the kind of chip and of nothing that is measured, so that all processes
of a run, and a run that is resumed on such chips, make the same one. Checkpoints keep "auto": on other chips it may
stand for another policy, which changes gradients by rounding alone too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from jax.sharding import Mesh

from lct_jax.config import Config
from lct_jax.config.network import put
from lct_jax.costs.chips import Chip
from lct_jax.plan.links import Shards
from lct_jax.plan.memory import estimate_memory
from lct_jax.plan.parameters import place_parameters
from lct_jax.training.report.throughput import find_chip

# The share of a chip's memory that an estimate may take: some programs take more than is estimated. None of those that
# were compiled takes more than its estimate divided by this (tests/test_plan_accuracy.py), so what is chosen fits.
SAFE = 0.95
# Those that spare attention, and those that do not, each from the one that computes least again. "offload" is not among
# them: whether it gains depends on how long scenes are and how fast the host is, which `--search` weighs.
SPARING = ("none", "save_attention")
WHOLE = ("block", "offload_input")
# Where the memory of a chip is not known.
UNKNOWN = "block"


def resolve_remat(config: Config, mesh: Mesh) -> Config:
    """Returns a config with the policy and the micro-batches that a run on a mesh takes."""
    kind = mesh.devices.flat[0].device_kind
    return choose_remat(config, Shards(*mesh.devices.shape), find_chip(kind))


def choose_remat(config: Config, shards: Shards, chip: Chip | None) -> Config:
    """Returns a config whose `compute.remat` names a policy; one that does so already is returned as it is.

    Its `training.accumulate` is that of the given config, or a multiple of it where nothing fits otherwise, or fits
    only if attention is computed again.

    Args:
        chip: what the devices of the mesh are; None, or one without a published peak, takes `UNKNOWN`.
    """
    if config.compute.remat != "auto":
        return config
    if chip is None or not chip.flops:
        return put(config, remat=UNKNOWN)
    parameters = place_parameters(config.network, shards, optimizer=config.training.optimizer)
    needs = []
    for choice in _list_choices(config, shards):
        need = estimate_memory(choice, parameters, shards).total
        if need <= SAFE * chip.usable:
            return choice
        needs.append((need, choice))
    return min(needs, key=lambda found: found[0])[1]


def _list_choices(config: Config, shards: Shards) -> Iterator[Config]:
    """Yields policies and micro-batches, from what is preferred."""
    given, *more = _list_micro_batches(config, shards)
    yield from (_change(config, name, given) for name in SPARING)
    yield from (_change(config, SPARING[-1], number) for number in more)
    for number in (given, *more):
        yield from (_change(config, name, number) for name in WHOLE)


def _list_micro_batches(config: Config, shards: Shards) -> list[int]:
    """Returns the numbers of micro-batches that divide the rows of a group of devices, from the config's own."""
    given = config.training.accumulate
    at_once = config.data.rows // (shards.data * given)
    return [given, *(given * n for n in range(2, at_once + 1) if at_once % n == 0)]


def _change(config: Config, remat: str, accumulate: int) -> Config:
    training = dataclasses.replace(config.training, accumulate=accumulate)
    return put(dataclasses.replace(config, training=training), remat=remat)
