"""Memory of a device in a training step, part by part, from shapes.

A config and a mesh enter, a `Memory` leaves. Weights, optimiser, EMA and batch are exact, by the rule that places
them. What
the compiler makes of the rest is modelled: gradients live together until the update, each block keeps what its remat
policy says, and the widest moment is the backward pass of one block. How near that comes to compiled programs is in
benchmarks/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config
from lct_jax.costs.recompute import POLICIES
from lct_jax.plan.links import Shards
from lct_jax.plan.parameters import FLOAT, Parameters

LANES = 128  # a TPU's last axis is stored in multiples of it
INDEX = 6 * FLOAT  # bytes of a token's index: scene, shot, group and three coordinates

PREFETCHED = 2  # layers whose weights are gathered at a time: the one at work and the next


@dataclass(frozen=True)
class Memory:
    """Bytes of one device by part."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def estimate_memory(config: Config, parameters: Parameters, shards: Shards) -> Memory:
    """Memory of a training step on one device of a mesh."""
    data, micro = config.data, config.training.accumulate
    rows = data.rows / shards.data
    text = data.text_tokens if config.backbone.text == "joint" else 0
    tokens = rows / micro * (data.video_tokens + text) / shards.seq
    size, depth = jnp.dtype(config.compute.dtype).itemsize, config.backbone.depth
    policy, bytes_of = POLICIES[config.compute.remat], count_costs(config.network).activations
    kept = bytes_of.whole if policy.whole else bytes_of.carry + policy.attended * bytes_of.attended
    layer = parameters.blocks / depth
    return Memory(
        {
            "parameters": parameters.params,
            "optimiser": parameters.optimiser,
            "EMA": parameters.ema,
            "gradients": parameters.params * (1 + (micro > 1)),
            "batch": _batch_bytes(config, shards),
            "saved activations": depth * tokens * kept,
            "layer temporaries": bytes_of.block * tokens,
            "weights to compute with": parameters.blocks / shards.data * size,
            "gathered weights": PREFETCHED * layer * size + layer * FLOAT,
        }
    )


def _batch_bytes(config: Config, shards: Shards) -> float:
    """Values and indices of both streams, and the noise of the video."""
    backbone, data = config.backbone, config.data
    lanes = lambda width: -(-width // LANES) * LANES
    video = data.video_tokens * (2 * FLOAT * lanes(backbone.patch_channels) + INDEX)
    text = data.text_tokens * (FLOAT * lanes(backbone.text_width) + INDEX)
    return data.rows / shards.data * (video + text) / shards.seq
