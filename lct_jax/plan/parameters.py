"""Parameters of a model and how they are sharded, from its abstract tree: nothing is allocated.

The rule that places them (`state_sharding`) gives the shard of every leaf, so that bytes are exact.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType

from lct_jax.backbones.registry import build_abstract, find_family
from lct_jax.config import ComputeConfig, NetworkConfig, TrainingConfig
from lct_jax.distributed.sharding import AXES, state_sharding
from lct_jax.plan.links import Shards
from lct_jax.tensors import name_leaves
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import TrainState, init_state, split_params

# Bytes of a parameter between steps, and of its gradient.
FLOAT = 4


class Parameters(NamedTuple):
    """Parameters of a model on a mesh; bytes are those of one device.

    Attributes:
        count, blocks, leaves: parameters of the whole model, those in its blocks, and the number of arrays.
        trained, trained_blocks, trained_leaves: the same of what is trained: all of it, or a LoRA.
        cast_blocks: parameters in blocks that are kept in another dtype than is computed with.
        params, optimiser, ema: bytes between steps of what is trained.
        frozen: bytes of the base under a LoRA.
        gathered_bytes: bytes of all weights, as a pass gathers them.
        gradient_bytes: bytes of all gradients before they are scattered.
    """

    count: int
    blocks: int
    leaves: int
    trained: int
    trained_blocks: int
    trained_leaves: int
    cast_blocks: int
    params: float
    frozen: float
    optimiser: float
    ema: float
    gathered_bytes: float
    gradient_bytes: float


def make_abstract_mesh(shards: Shards) -> AbstractMesh:
    """Returns a mesh without devices, as `make_mesh` would lay it."""
    return AbstractMesh(shards, AXES, axis_types=(AxisType.Auto,) * 2)


def place_parameters(
    network: NetworkConfig, shards: Shards, *, optimizer: str = "adamw"
) -> Parameters:
    """Returns the parameters, optimiser (`training.optimizer`) and EMA of a training state on a mesh."""
    # Of the compute section, only the dtype matters: weights are gathered in it.
    compute = ComputeConfig(dtype=network.compute.dtype)
    return _place(dataclasses.replace(network, compute=compute), shards, optimizer)


@functools.cache
def _place(network: NetworkConfig, shards: Shards, optimizer: str) -> Parameters:
    state, frozen = _abstract_state(network, optimizer)
    mesh, dtype = make_abstract_mesh(shards), jnp.dtype(network.compute.dtype)

    def measure(tree: Any) -> float:
        local = jax.tree.map(_shard_bytes, tree, state_sharding(tree, mesh))
        return float(sum(jax.tree.leaves(local)))

    trained = name_leaves(state.params)
    whole = trained | name_leaves(frozen)
    count, learned = (sum(leaf.size for leaf in tree.values()) for tree in (whole, trained))
    blocks, own = (_list_blocks(tree) for tree in (whole, trained))
    inside, own_inside = (sum(leaf.size for leaf in tree) for tree in (blocks, own))
    # Weights of blocks are gathered in the compute dtype, and their gradients scattered in it; those of time stay
    # float32.
    sent = lambda inside, count: float(dtype.itemsize * inside + FLOAT * (count - inside))
    return Parameters(
        count=count,
        blocks=inside,
        leaves=len(whole),
        trained=learned,
        trained_blocks=own_inside,
        trained_leaves=len(trained),
        cast_blocks=sum(leaf.size for leaf in blocks if leaf.dtype != dtype),
        params=measure(state.params),
        frozen=measure(frozen),
        optimiser=measure(state.opt_state),
        ema=measure(state.ema),
        gathered_bytes=sent(inside, count),
        gradient_bytes=sent(own_inside, learned),
    )


@functools.cache
def _abstract_state(network: NetworkConfig, optimizer: str) -> tuple[TrainState, Any]:
    """Returns a training state and what is frozen beside it as shapes; of the training, the optimiser alone matters."""
    training = TrainingConfig(optimizer=optimizer)
    rule = make_optimizer(training, decays=find_family(network).decays)
    parts = split_params(build_abstract(network).params)
    state = jax.eval_shape(lambda params: init_state(params, rule), parts.trained)
    return state, parts.frozen


def _list_blocks(leaves: Mapping[str, Any]) -> list[Any]:
    return [leaf for name, leaf in leaves.items() if name.startswith("blocks.")]


def _shard_bytes(leaf: Any, sharding: Any) -> float:
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
