"""What `compute.remat="auto"` stands for: the policy that computes least again of those that fit the chips.

The choice is by the plan's own estimate, a function of the config, the mesh and the kind of chip and of nothing that is
measured, so that all processes of a run, and a run that is resumed on such chips, make the same one. Checkpoints keep
"auto": on other chips it may stand for another policy, which changes gradients by rounding alone.
"""

from __future__ import annotations

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
# From the one that computes least again. "offload" is not among them: whether it gains depends on how long scenes are
# and how fast the host is, which `--search` weighs.
CANDIDATES = ("none", "save_attention", "block", "offload_input")
# Where the memory of a chip is not known.
UNKNOWN = "block"


def resolve_remat(config: Config, mesh: Mesh) -> Config:
    """Returns a config whose `compute.remat` names the policy that a run on a mesh takes."""
    kind = mesh.devices.flat[0].device_kind
    return choose_remat(config, Shards(*mesh.devices.shape), find_chip(kind))


def choose_remat(config: Config, shards: Shards, chip: Chip | None) -> Config:
    """Returns a config whose `compute.remat` names a policy; one that does so already is returned as it is.

    Args:
        chip: what the devices of the mesh are; None, or one without a published peak, takes `UNKNOWN`.
    """
    if config.compute.remat != "auto":
        return config
    if chip is None or not chip.flops:
        return put(config, remat=UNKNOWN)
    parameters = place_parameters(config.network, shards)
    choices = [put(config, remat=name) for name in CANDIDATES]
    needs = [estimate_memory(choice, parameters, shards).total for choice in choices]
    fitting = [c for c, need in zip(choices, needs, strict=True) if need <= SAFE * chip.usable]
    return fitting[0] if fitting else choices[needs.index(min(needs))]
