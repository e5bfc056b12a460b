"""What devices send each other in a training step: which collectives, how often, and how many bytes.

Weights are sharded over `data`: every pass gathers them layer by layer, and gradients are scattered back; devices along
`seq` hold the same shard and sum their gradients of it. Attention exchanges tokens for heads over `seq` before the
kernel and back after it (DeepSpeed-Ulysses, arXiv 2309.14509).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lct_jax.config import Config
from lct_jax.costs.recompute import POLICIES
from lct_jax.plan.links import Shards, exchange_seconds, find_axis_links, gather_seconds
from lct_jax.plan.parameters import Parameters
from lct_jax.plan.topology import Topology

# The all-to-alls of one pass of attention: queries, keys, values and the output.
EXCHANGES = 4
# Those of them that go with the queries, and those with the keys.
OF_QUERIES, OF_KEYS = 2, 2


class Collective(NamedTuple):
    """All collectives of one purpose in a step.

    Attributes:
        kind: "all-gather", "reduce-scatter", "all-reduce" or "all-to-all".
        what: what is sent.
        axis: the axis of the mesh.
        count: how many there are.
        sent: bytes that a device sends in all of them; it receives as many.
        seconds: the shortest time that its links take; 0 where rates are not published.
    """

    kind: str
    what: str
    axis: str
    count: int
    sent: float
    seconds: float


def list_collectives(
    config: Config, parameters: Parameters, shards: Shards, topology: Topology
) -> list[Collective]:
    """Returns the collectives of a training step; an axis of one device has none."""
    found = [
        *_list_weights(config, parameters, shards, topology),
        *_list_exchanges(config, shards, topology),
    ]
    return [c for c in found if c.sent]


def _list_weights(
    config: Config, parameters: Parameters, shards: Shards, topology: Topology
) -> list[Collective]:
    data, seq = (find_axis_links(topology, shards, axis) for axis in ("data", "seq"))
    micro, chip = config.training.accumulate, topology.chip
    others = lambda size: (size - 1) / size
    passes = micro * (2 if POLICIES[config.compute.remat].again.linear else 1)
    gathered = passes * parameters.gathered_bytes * others(shards.data)
    scattered = micro * parameters.gradient_bytes * others(shards.data)
    # An all-reduce over a ring sends twice what a reduce-scatter does, here of the shard that is left.
    summed = 2 * micro * parameters.gradient_bytes / shards.data * others(shards.seq)
    return [
        Collective(
            *("all-gather", "weights", "data"),
            passes * parameters.leaves,
            gathered,
            gather_seconds(chip, data, gathered),
        ),
        Collective(
            *("reduce-scatter", "gradients", "data"),
            micro * parameters.trained_leaves,
            scattered,
            gather_seconds(chip, data, scattered),
        ),
        Collective(
            *("all-reduce", "gradients", "seq"),
            micro * parameters.trained_leaves,
            summed,
            gather_seconds(chip, seq, summed),
        ),
    ]


def _list_exchanges(config: Config, shards: Shards, topology: Topology) -> list[Collective]:
    model, data, micro = config.backbone, config.data, config.training.accumulate
    links = find_axis_links(topology, shards, "seq")
    rows = data.rows / shards.data
    # Where text stands beside the video, there is cross-attention besides self-attention.
    if model.text == "joint":
        kinds, tokens = EXCHANGES, EXCHANGES * (data.video_tokens + data.text_tokens)
    else:
        kinds = 2 * EXCHANGES
        tokens = (EXCHANGES + OF_QUERIES) * data.video_tokens + OF_KEYS * data.text_tokens
    width = model.heads * model.head_dim * jnp.dtype(config.compute.dtype).itemsize
    # The passes are the forward pass, its gradient, and perhaps the forward pass again: also where the output of a
    # kernel is kept, for what surrounds the kernel needs what was exchanged.
    passes = 2 + POLICIES[config.compute.remat].again.linear
    others = (shards.seq - 1) / shards.seq
    sent = passes * model.depth * rows * tokens / shards.seq * width * others
    count = round(passes * kinds * model.depth * micro)
    seconds = exchange_seconds(topology.chip, links, sent)
    return [Collective("all-to-all", "queries, keys, values", "seq", count, sent, seconds)]
