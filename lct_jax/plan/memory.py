"""Memory of a device in a training step, part by part, from shapes.

Weights, optimiser, EMA and batch are exact, by the rule that places them. What the compiler adds is modelled: gradients
are all live until the update, each block keeps what its remat policy says, and the peak is the backward pass of one
block. Estimates are compared with compiled programs in benchmarks/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config
from lct_jax.costs.recompute import POLICIES
from lct_jax.plan.links import Shards
from lct_jax.plan.parameters import FLOAT, Parameters

# A TPU stores the last axis in multiples of this.
LANES = 128
# Bytes of a token's index: scene, shot, slot and three coordinates.
INDEX = 6 * FLOAT

# Layers whose weights are gathered at one time: the current one and the next.
PREFETCHED = 2
# Queries, keys, values, output and the gradients of the first three: where several rows go through the kernel at once,
# they are there a second time, one row behind the other.
KERNEL_ARRAYS = 7
# Blocks whose part on the host is in the device's memory as well: two on their way there, two on their way back.
IN_FLIGHT = 4


@dataclass(frozen=True)
class Memory:
    """Bytes of one device by part.

    Attributes:
        parts: those in the device's own memory.
        host: those that it keeps in its host's memory.
    """

    parts: dict[str, float]
    host: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all parts in the device's memory."""
        return sum(self.parts.values())


def estimate_memory(config: Config, parameters: Parameters, shards: Shards) -> Memory:
    """Returns the memory of a training step on one device of a mesh."""
    data, micro = config.data, config.training.accumulate
    rows = data.rows / shards.data
    text = data.text_tokens if config.backbone.text == "joint" else 0
    tokens = rows / micro * (data.video_tokens + text) / shards.seq
    size, depth = jnp.dtype(config.compute.dtype).itemsize, config.backbone.depth
    policy, bytes_of = POLICIES[config.compute.remat], count_costs(config.network).activations
    joined = KERNEL_ARRAYS * bytes_of.attended * max(1 - micro / rows, 0)
    layer, own_layer = parameters.blocks / depth, parameters.trained_blocks / depth
    return Memory(
        {
            "parameters": parameters.params,
            **({"frozen base": parameters.frozen} if parameters.frozen else {}),
            "optimiser": parameters.optimiser,
            "EMA": parameters.ema,
            "gradients": parameters.params * (1 + (micro > 1)),
            "batch": _batch_bytes(config, shards),
            "saved activations": depth * tokens * policy.sum_kept(bytes_of),
            "layer temporaries": tokens * (bytes_of.block + joined),
            "moved to the host": IN_FLIGHT * tokens * policy.sum_offloaded(bytes_of),
            "weights to compute with": parameters.cast_blocks / shards.data * size,
            "gathered weights": PREFETCHED * layer * size + own_layer * FLOAT,
        },
        host=depth * tokens * policy.sum_offloaded(bytes_of),
    )


def _batch_bytes(config: Config, shards: Shards) -> float:
    """Returns the bytes of values and indices of both streams, and of the noise of the video."""
    backbone, data = config.backbone, config.data
    lanes = lambda width: -(-width // LANES) * LANES
    video = data.video_tokens * (2 * FLOAT * lanes(backbone.patch_channels) + INDEX)
    text = data.text_tokens * (FLOAT * lanes(backbone.text_width) + INDEX)
    return data.rows / shards.data * (video + text) / shards.seq
