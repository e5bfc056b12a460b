"""Blocks of one kind, stacked along a layer axis: how they are made, run in a scan, and recomputed.

A scan compiles one block, so that 3 layers and 28 compile equally fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.layout import Layout, with_layout_constraint

from lct_jax.attention.chunked import ATTENDED
from lct_jax.config import NetworkConfig
from lct_jax.distributed.sharding import find_platform, shard_heads
from lct_jax.types import KeyValues

# Recomputation policies know the input of a block under this name.
INPUT = "input"


def _offload(name: str) -> Callable[..., Any]:
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[name],
        offload_src="device",
        offload_dst="pinned_host",
    )


# The checkpoint policies of a block, by the config's names (`compute.remat`). Programs that train put a name in the
# place of "auto"; where nobody did, blocks are recomputed.
POLICIES = {
    "auto": jax.checkpoint_policies.nothing_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
    "save_attention": jax.checkpoint_policies.save_only_these_names(ATTENDED),
    "offload": _offload(ATTENDED),
    "offload_input": _offload(INPUT),
}
# A CPU has no other memory to move to.
ON_CPU = {"offload": "save_attention", "offload_input": "block"}


def stack_blocks(kind: type[nnx.Module], config: NetworkConfig, *, rngs: nnx.Rngs) -> nnx.Module:
    """Returns the blocks of a network as one module, whose parameters have a leading layer axis.

    Args:
        kind: the class of a block, made from a NetworkConfig and `rngs`.
    """

    @nnx.split_rngs(splits=config.backbone.depth)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def create(rngs: nnx.Rngs) -> nnx.Module:
        return kind(config, rngs=rngs)

    return create(rngs)


def _order_rows(x: jax.Array) -> jax.Array:
    """Returns an array that lies in memory in the order of its axes.

    Otherwise the compiler for TPUs may choose another order for the inputs of all blocks in the backward pass of a
    LoRA, and copy them as a whole before it: 6.3 GiB for nine shots on Wan2.1-T2V-1.3B (benchmarks/README.md). With all
    weights trained, or inputs that lie on the host, an order of its own takes less.
    """
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))


def run_blocks(
    blocks: nnx.Module,
    x: Any,
    run: Callable[[Any, Any, jax.Array], tuple[Any, KeyValues | None]],
    config: NetworkConfig,
    *,
    differentiable: bool,
) -> tuple[Any, KeyValues | None]:
    """Runs one block after another.

    Args:
        blocks: those of `stack_blocks`.
        x: the input of the first block.
        run: a function (block, x, layer) -> (x, keys and values to keep, or None); `layer` is int32.
        differentiable: whether the pass may be differentiated; if so, blocks are recomputed by `compute.remat`.

    Returns:
        The output of the last block, and the keys and values [N B H L K] of all, or None.
    """
    graph, layers = nnx.split(blocks)

    def step(x: Any, numbered: tuple[jax.Array, nnx.State]) -> tuple[Any, KeyValues | None]:
        x = jax.tree.map(lambda part: checkpoint_name(part, INPUT), x)
        if ordered:
            x = jax.tree.map(_order_rows, x)
        return run(nnx.merge(graph, numbered[1]), x, numbered[0])

    remat = config.compute.remat
    ordered = config.lora.rank > 0 and remat != "offload_input" and find_platform() == "tpu"
    if find_platform() == "cpu":
        remat = ON_CPU.get(remat, remat)
    if remat != "none" and differentiable:
        step = jax.checkpoint(step, prevent_cse=False, policy=POLICIES[remat])
    x, kept = jax.lax.scan(step, x, (jnp.arange(config.backbone.depth), layers))
    if kept is not None:
        kept = KeyValues(*(shard_heads(part, "NBHLK") for part in kept))
    return x, kept
