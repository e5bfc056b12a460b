"""One step of Long Context Tuning: the method on one screen.

The step is a pure function `(state, frozen, batch, key) -> (state, output)`, to be jitted with donation of the state;
`frozen` is the base under a LoRA, or None. What watches the step is elsewhere: the guard (`guard.py`) refuses bad
updates, and the meter (`report/meter.py`) counts and reports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from lct_jax import flow
from lct_jax.config import FlowConfig, TrainingConfig
from lct_jax.distributed.sharding import COMPILER_OPTIONS, replicated, state_sharding
from lct_jax.training.state import TrainState, merge_params, update_ema
from lct_jax.types import PackedBatch

# Folded into the key of a step for the draw of held frames.
HELD_KEY = 2

Step = Callable[[TrainState, Any, PackedBatch, jax.Array], tuple[TrainState, Any]]


class StepOutput(NamedTuple):
    """The output of a step.

    Attributes:
        loss: float32, mean over the samples of the batch.
        gradient_norm: float32, before clipping.
        errors: float32[B L], squared velocity error of every video token.
        weights: float32[B L], its share in the loss.
        time: float32[B S], diffusion time of every group slot.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    errors: jax.Array
    weights: jax.Array
    time: jax.Array


class Part(NamedTuple):
    """A batch, or some of its rows, with the noise and times that a step adds and the loss weights."""

    batch: PackedBatch
    added: flow.Draw
    weight: jax.Array


def make_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    *,
    flow_config: FlowConfig,
    training: TrainingConfig,
    slots: int,
    samples: float,
) -> Step:
    """Returns the step; its `key` is the run's key, into which the step folds its own number.

    Args:
        graph: the static part of the network.
        optimizer: the optimiser, from `make_optimizer`.
        slots: S, group slots of a row.
        samples: the mean number of samples in a global batch of the plan. The sum of all samples' losses is divided by
            this constant of the run, so that every sample of a run weighs the same (`flow.py`).
    """

    def step(
        state: TrainState, frozen: Any, batch: PackedBatch, key: jax.Array
    ) -> tuple[TrainState, StepOutput]:
        # Every shot has its own time, and every token its own noise [LCT sections 3.1 and 3.3].
        key = jax.random.fold_in(key, state.step)
        added = flow.draw(key, batch, slots=slots, config=flow_config)
        held_BL, seen = None, (batch, added)
        if flow_config.hold:
            # Its key must not be one of those that drew time and noise.
            *seen, held_BL = flow.hold_frames(
                jax.random.fold_in(key, HELD_KEY), batch, added, slots=slots, config=flow_config
            )
        # The loss is the mean over a shot's tokens, then over a sample's shots, then over samples.
        weight_BL = flow.loss_weights(batch.video.index, slots, held_BL=held_BL)
        part = Part(*seen, weight_BL)
        gradient, error_BL = find_gradient(
            graph, state.params, frozen, part, training, samples=samples
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = update_ema(state.ema, params, step=state.step, decay=training.ema)
        output = StepOutput(
            loss=(weight_BL * error_BL).sum() / flow.count_samples(batch),
            gradient_norm=optax.tree.norm(gradient),
            errors=error_BL,
            weights=weight_BL,
            time=added.time,
        )
        return TrainState(state.step + 1, params, ema, opt_state, state.guard), output

    return step


def find_gradient(
    graph: nnx.GraphDef,
    params: Any,
    frozen: Any,
    whole: Part,
    training: TrainingConfig,
    *,
    samples: float,
) -> tuple[Any, jax.Array]:
    """Returns the gradient of the weighted errors' sum over `samples` by `params`, and the errors, float32[B L].

    With `training.accumulate` above 1, the rows are processed in that many micro-batches.
    """

    def objective(params: Any, part: Part) -> tuple[jax.Array, jax.Array]:
        backbone = make_backbone(graph, merge_params(params, frozen), training.context)
        error_BL = flow.token_errors(backbone, part.batch, part.added)
        return (part.weight * error_BL).sum() / samples, error_BL

    def add(total: Any, part: Part) -> tuple[Any, jax.Array]:
        gradient, error_BL = differentiate(params, part)
        return jax.tree.map(jnp.add, total, gradient), error_BL

    differentiate = jax.grad(objective, has_aux=True)
    if training.accumulate == 1:
        return differentiate(params, whole)
    zero = jax.tree.map(jnp.zeros_like, params)
    gradient, error_PBL = jax.lax.scan(add, zero, split_rows(whole, training.accumulate))
    return gradient, jnp.swapaxes(error_PBL, 0, 1).reshape(-1, error_PBL.shape[-1])


def make_backbone(graph: nnx.GraphDef, params: Any, context: str) -> flow.Backbone:
    """Returns the network as a function of tokens and time: (video, text, time_BS) -> velocity [B L C]."""
    network = nnx.merge(graph, params)
    return lambda video, text, time_BS: network(video, text, time_BS, context=context).velocity


def split_rows(tree: Any, parts: int) -> Any:
    """Returns [parts, B / parts, ...] of [B ...]; parts are strided, so that rows stay on their device."""
    split = lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)
    return jax.tree.map(split, tree)


def jit_step(step: Step, state: Any, mesh: Mesh) -> jax.stages.Wrapped:
    """Returns the step compiled for a mesh; the state that it is called with is donated, `state` here may be shapes."""
    platform = mesh.devices.flat[0].platform
    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(state_sharding(state, mesh), replicated(mesh)),
        compiler_options=COMPILER_OPTIONS.get(platform),
    )
