"""The training state and the pure step `(state, batch, key) -> (state, metrics)`.

The model is split once into a graph (static) and its parameters (a pytree); the step is plain JAX over the
latter, to be jitted with donation. An update that the guard refuses is not made. Gradients are sums over samples
divided by the samples of the *global* batch, so micro-batches, packing and sharding give the same update.
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
from lct_jax.sharding import state_sharding
from lct_jax.training.guard import Guard, init_guard, judge
from lct_jax.types import PADDING_SCENE, PackedBatch

IN_A_ROW = "skipped_in_a_row"  # metric of a step: 0 where its update was made

Step = Callable[["TrainState", PackedBatch, jax.Array], tuple["TrainState", dict[str, jax.Array]]]


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
) -> Step:
    """Builds the step; `key` is the run's key, folded with the step inside."""

    def step(state: TrainState, batch: PackedBatch, key: jax.Array) -> Any:
        added = flow.draw(
            jax.random.fold_in(key, state.step), batch, slots=slots, config=flow_config
        )
        loss, gradient = loss_and_gradient(
            graph, state.params, batch, added, training=training, slots=slots
        )
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
        return TrainState(state.step + 1, *kept, guard), metrics

    return step


def jit_step(step: Step, state: Any, mesh: Mesh) -> jax.stages.Wrapped:
    """The step compiled for a mesh, which gives up the state it is given; `state` may be shapes alone."""
    return jax.jit(step, donate_argnums=0, out_shardings=(state_sharding(state, mesh), None))


def loss_and_gradient(
    graph: nnx.GraphDef,
    params: Any,
    batch: PackedBatch,
    added: flow.Draw,
    *,
    training: TrainingConfig,
    slots: int,
) -> tuple[jax.Array, Any]:
    """Loss and its gradient over the whole batch, `training.accumulate` micro-batches one after the other."""
    weight_BL = flow.loss_weights(batch.video.index, slots)
    samples = count_samples(batch)

    def micro_loss(params: Any, micro: tuple[PackedBatch, flow.Draw, jax.Array]) -> jax.Array:
        backbone = make_backbone(graph, params, training.context)
        return flow.weighted_error(backbone, *micro) / samples

    def add(total: Any, micro: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(micro_loss)(params, micro)), None

    whole = (batch, added, weight_BL)
    if training.accumulate == 1:
        return jax.value_and_grad(micro_loss)(params, whole)
    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    return jax.lax.scan(add, zero, split_rows(whole, training.accumulate))[0]


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
