"""The training state and the pure step `(state, batch, key) -> (state, metrics)`.

The model is split once into a graph (static) and its parameters (a pytree); the step is plain JAX over the
latter, to be jitted with donation. An update that the guard refuses is not made. Gradients are sums over the samples of
the *global* batch, so micro-batches, packing and sharding give the same update; divided by the samples that a batch is
planned to hold, so that every sample weighs the same in whatever batch it lies (`flow.py`).
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
from lct_jax.costs.step import count_groups
from lct_jax.distributed.sharding import replicated, state_sharding
from lct_jax.training.guard import Guard, init_guard, judge
from lct_jax.types import PADDING_SCENE, PackedBatch

# Metrics of a step beside its loss and gradient norm: 0 where its update was made; a flow.Breakdown of the loss; a
# work.GroupSizes of the batch.
IN_A_ROW, BREAKDOWN, SIZES = "skipped_in_a_row", "breakdown", "sizes"

Step = Callable[["TrainState", PackedBatch, jax.Array], tuple["TrainState", dict[str, Any]]]


class Gradient(NamedTuple):
    """Of a whole batch: its loss, the gradient as a tree like the parameters, and where the loss comes from."""

    loss: jax.Array
    tree: Any
    breakdown: flow.Breakdown


class TrainState(NamedTuple):
    """All that a run is resumed from, but for the data position, which equals `step`.

    Attributes:
        step: int32, batches seen. params: float32 pytree. ema: its moving average. opt_state: of optax.
        guard: what tells a bad update from a good one.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    guard: Guard


def make_optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW with warm-up, cosine decay and clipping [LCT supplement A.1; warm-up and clipping ours].

    Weight decay spares vectors (biases, norm scales) and modulation, whatever their rank after scanning.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=config.steps,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule,
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=decayed,
        ),
    )


def decayed(params: Any) -> Any:
    """Which leaves weight decay touches: kernels outside the time modulation."""

    def is_decayed(path: tuple[Any, ...], _: jax.Array) -> bool:
        names = [str(getattr(part, "key", part)) for part in path]
        return "kernel" in names and "time" not in names

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """Step 0 from given parameters; the EMA starts as a copy of them."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        guard=init_guard(),
    )


def make_backbone(graph: nnx.GraphDef, params: Any, context: str) -> flow.Backbone:
    """The model as a function of tokens and time."""
    model = nnx.merge(graph, params)
    return lambda video, text, time_BS: model(video, text, time_BS, context=context)


def make_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    *,
    flow_config: FlowConfig,
    training: TrainingConfig,
    slots: int,
    samples: float,
) -> Step:
    """Builds the step; `key` is the run's key, folded with the step inside.

    Args:
        slots: of groups in a row. samples: of a global batch as the plan has them on average: a constant of the run.
    """

    def step(state: TrainState, batch: PackedBatch, key: jax.Array) -> Any:
        added = flow.draw(
            jax.random.fold_in(key, state.step), batch, slots=slots, config=flow_config
        )
        loss, gradient, breakdown = loss_and_gradient(
            graph, state.params, batch, added, training=training, slots=slots
        )
        gradient = scale_to_plan(gradient, batch, samples=samples)
        norm = optax.tree.norm(gradient)
        good, guard = judge(state.guard, loss=loss, norm=norm, spike=training.spike)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = update_ema(state.ema, params, step=state.step, decay=training.ema)
        keep = lambda new, old: jnp.where(good, new, old)  # noqa: E731
        kept = jax.tree.map(
            keep, (params, ema, opt_state), (state.params, state.ema, state.opt_state)
        )
        metrics = {"loss": loss, "gradient_norm": norm, IN_A_ROW: guard.in_a_row}
        metrics |= {BREAKDOWN: breakdown, SIZES: count_groups(batch, slots)}
        return TrainState(state.step + 1, *kept, guard), metrics

    return step


def jit_step(step: Step, state: Any, mesh: Mesh) -> jax.stages.Wrapped:
    """The step compiled for a mesh, which gives up the state it is given; `state` may be shapes alone."""
    return jax.jit(
        step, donate_argnums=0, out_shardings=(state_sharding(state, mesh), replicated(mesh))
    )


def loss_and_gradient(
    graph: nnx.GraphDef,
    params: Any,
    batch: PackedBatch,
    added: flow.Draw,
    *,
    training: TrainingConfig,
    slots: int,
) -> Gradient:
    """Loss and its gradient, means over the samples of a batch; `training.accumulate` micro-batches one by one."""
    weight_BL = flow.loss_weights(batch.video.index, slots)
    samples = count_samples(batch)
    Micro = tuple[PackedBatch, flow.Draw, jax.Array]

    def micro_loss(params: Any, micro: Micro) -> tuple[jax.Array, flow.Breakdown]:
        batch, added, weight_BL = micro
        backbone = make_backbone(graph, params, training.context)
        error_BL = flow.token_errors(backbone, batch, added)
        breakdown = flow.break_down(error_BL, weight_BL, batch.video.index, added.time)
        return (weight_BL * error_BL).sum() / samples, breakdown

    def micro_gradient(micro: Micro) -> Gradient:
        (loss, breakdown), tree = jax.value_and_grad(micro_loss, has_aux=True)(params, micro)
        return Gradient(loss, tree, breakdown)

    def add(total: Gradient, micro: Micro) -> tuple[Gradient, None]:
        return jax.tree.map(jnp.add, total, micro_gradient(micro)), None

    whole = (batch, added, weight_BL)
    if training.accumulate == 1:
        return micro_gradient(whole)
    parts = split_rows(whole, training.accumulate)
    shapes = jax.eval_shape(micro_gradient, jax.tree.map(lambda part: part[0], parts))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, zero, parts)[0]


def scale_to_plan(gradient: Any, batch: PackedBatch, *, samples: float) -> Any:
    """A mean over the samples of a batch as their sum over `samples`, those that a batch is planned to hold."""
    return jax.tree.map(lambda leaf: leaf * (count_samples(batch) / samples), gradient)


def count_samples(batch: PackedBatch) -> jax.Array:
    """Number of samples in a batch (scenes of a row are numbered from 1); at least 1."""
    scenes = jnp.where(batch.video.index.scene != PADDING_SCENE, batch.video.index.scene, 0)
    return jnp.maximum(scenes.max(axis=1).sum().astype(jnp.float32), 1.0)


def split_rows(tree: Any, parts: int) -> Any:
    """[B ...] -> [parts, B / parts, ...], strided: rows stay on the device that holds them."""
    split = lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)  # noqa: E731
    return jax.tree.map(split, tree)


def update_ema(ema: Any, params: Any, *, step: jax.Array, decay: float) -> Any:
    """Moving average with a warm-up: the decay is min(decay, (1 + step) / (10 + step))."""
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: rate * old + (1.0 - rate) * new, ema, params)
