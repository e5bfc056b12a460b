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

from lct_jax.config import Config
from lct_jax.costs.recompute import POLICIES
from lct_jax.plan.links import Shards
from lct_jax.plan.parameters import FLOAT, Parameters

LANES = 128  # a TPU's last axis is stored in multiples of it
INDEX = 6 * FLOAT  # bytes of a token's index: scene, shot, group and three coordinates

# Arrays [tokens, width] in the compute dtype that the backward pass of a block takes at its widest: queries, keys,
# values and gradients, float32 copies counted as two, and what the compiler's layout leaves unused between them. Read
# off compiled programs, benchmarks/README.md.
BLOCK = 32
WHOLE = 20  # of them that are kept of every block where nothing is computed again
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
    model, data, micro = config.model, config.data, config.training.accumulate
    rows = data.rows / shards.data
    tokens = rows / micro * (data.video_tokens + data.text_tokens) / shards.seq
    width, inner = model.width, model.heads * model.head_dim
    size = jnp.dtype(model.dtype).itemsize
    policy = POLICIES[model.remat]
    block = BLOCK * tokens * width * size
    kept = model.depth * tokens * (width + policy.attended * inner) * size
    layer = parameters.blocks / model.depth
    return Memory(
        {
            "parameters": parameters.params,
            "optimiser": parameters.optimiser,
            "EMA": parameters.ema,
            "gradients": parameters.params * (1 + (micro > 1)),
            "batch": _batch_bytes(config, shards),
            "saved activations": (
                model.depth * WHOLE * tokens * width * size if policy.whole else kept
            ),
            "layer temporaries": block,
            "weights to compute with": parameters.blocks / shards.data * size,
            "gathered weights": PREFETCHED * layer * size + layer * FLOAT,
        }
    )


def _batch_bytes(config: Config, shards: Shards) -> float:
    """Values and indices of both streams, and the noise of the video."""
    model, data = config.model, config.data
    lanes = lambda width: -(-width // LANES) * LANES  # noqa: E731
    video = data.video_tokens * (2 * FLOAT * lanes(model.patch_channels) + INDEX)
    text = data.text_tokens * (FLOAT * lanes(model.text_width) + INDEX)
    return data.rows / shards.data * (video + text) / shards.seq
