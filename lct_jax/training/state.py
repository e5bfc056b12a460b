"""The training state, its moving average, and which parameters are trained at all."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from lct_jax.training.guard import Guard, init_guard


class TrainState(NamedTuple):
    """All that a run is resumed from, but for the data position, which equals `step`.

    Attributes:
        step: int32, the number of batches that were taken.
        params: float32 pytree of what is trained: all parameters, or those of a LoRA.
        ema: its moving average.
        opt_state: the state of the optax optimiser.
        guard: the state of the guard against bad updates.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    guard: Guard


class Parts(NamedTuple):
    """The parameters of a network: those that are trained, and those that lie frozen (None where all are trained)."""

    trained: Any
    frozen: Any


def split_params(params: Any) -> Parts:
    """Returns the trained and the frozen parameters of a network, as arrays or shapes: a LoRA is trained alone."""
    trained, frozen = nnx.split_state(params, nnx.LoRAParam, ...)
    return Parts(trained, frozen) if jax.tree.leaves(trained) else Parts(params, None)


def merge_params(trained: Any, frozen: Any) -> Any:
    """Returns the parameters of a whole network from those of `split_params`."""
    return trained if frozen is None else nnx.merge_state(trained, frozen)


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state of step 0 from given parameters; the EMA starts as a copy of them."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        guard=init_guard(),
    )


def update_ema(ema: Any, params: Any, *, step: jax.Array, decay: float) -> Any:
    """Returns the updated moving average; its decay warms up as min(decay, (1 + step) / (10 + step))."""
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: rate * old + (1.0 - rate) * new, ema, params)
