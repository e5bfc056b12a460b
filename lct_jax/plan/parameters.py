"""Parameters of a model and how they are sharded, from its abstract tree: nothing is allocated.

The rule that places them (`state_sharding`) gives the shard of every leaf, so that bytes are exact.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType

from lct_jax.backbones.registry import build_abstract, find_family
from lct_jax.config import ComputeConfig, NetworkConfig, TrainingConfig
from lct_jax.distributed.sharding import AXES, state_sharding
from lct_jax.plan.links import Shards
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import TrainState, init_state

# Bytes of a parameter between steps, and of its gradient.
FLOAT = 4


class Parameters(NamedTuple):
    """Parameters of a model on a mesh; bytes are those of one device.

    Attributes:
        count: parameters of the whole model.
        blocks: parameters in its blocks.
        leaves: the number of arrays.
        params, optimiser, ema: bytes between steps.
        gathered_bytes: bytes of all weights, as a pass gathers them.
        gradient_bytes: bytes of all gradients before they are scattered.
    """

    count: int
    blocks: int
    leaves: int
    params: float
    optimiser: float
    ema: float
    gathered_bytes: float
    gradient_bytes: float


def make_abstract_mesh(shards: Shards) -> AbstractMesh:
    """Returns a mesh without devices, as `make_mesh` would lay it."""
    return AbstractMesh(shards, AXES, axis_types=(AxisType.Auto,) * 2)


def place_parameters(network: NetworkConfig, shards: Shards) -> Parameters:
    """Returns the parameters, optimiser and EMA of a training state on a mesh."""
    # Of the compute section, only the dtype matters: weights are gathered in it.
    compute = ComputeConfig(dtype=network.compute.dtype)
    return _place(dataclasses.replace(network, compute=compute), shards)


@functools.cache
def _place(network: NetworkConfig, shards: Shards) -> Parameters:
    state = _abstract_state(network)
    local = jax.tree.map(_shard_bytes, state, state_sharding(state, make_abstract_mesh(shards)))
    total = lambda tree: float(sum(jax.tree.leaves(tree)))
    blocks = jax.tree.leaves(state.params["blocks"])
    leaves = jax.tree.leaves(state.params)
    count, inside = (sum(leaf.size for leaf in tree) for tree in (leaves, blocks))
    compute = jnp.dtype(network.compute.dtype).itemsize
    return Parameters(
        count=count,
        blocks=inside,
        leaves=len(leaves),
        params=total(local.params),
        optimiser=total(local.opt_state),
        ema=total(local.ema),
        # Weights of blocks are gathered in the compute dtype, and their gradients scattered in it; those of time stay
        # float32.
        gathered_bytes=float(compute * inside + FLOAT * (count - inside)),
        gradient_bytes=float(compute * inside + FLOAT * (count - inside)),
    )


@functools.cache
def _abstract_state(network: NetworkConfig) -> TrainState:
    """Returns a training state as shapes, which do not depend on how it is trained."""
    optimizer = make_optimizer(TrainingConfig(), decays=find_family(network).decays)
    shapes = build_abstract(network).params
    return jax.eval_shape(lambda params: init_state(params, optimizer), shapes)


def _shard_bytes(leaf: Any, sharding: Any) -> float:
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
