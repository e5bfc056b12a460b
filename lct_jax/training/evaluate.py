"""Validation loss at fixed diffusion times and with fixed noise, on batches that never change.

The training loss varies with the times that it draws; this one can be compared between steps, and between runs whose
rows are packed alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax import flow
from lct_jax.config import TrainingConfig
from lct_jax.distributed.sharding import shard
from lct_jax.training.step import make_backbone
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, PackedBatch

# No other stream of random numbers has this seed.
NOISE_SEED = 1_000_003


def make_evaluator(
    graph: nnx.GraphDef, training: TrainingConfig, *, slots: int
) -> Callable[[Any, Sequence[PackedBatch]], dict[str, float]]:
    """Returns `evaluate(params, batches)` -> {"held_out/loss": mean over times, "held_out/loss_t0.1": ...}.

    Args:
        graph: the graph of the network. training: its context and times. slots: S, the group slots of a row.
    """
    times = training.eval_times

    @jax.jit
    def errors(params: Any, batch: PackedBatch, key: jax.Array) -> jax.Array:
        weight_BL = flow.loss_weights(batch.video.index, slots)
        noise_BLC = shard(jax.random.normal(key, batch.video.value.shape), "BLC")
        groups = flow.find_groups(batch.video.index, slots)
        shots_BS = (groups.scene != PADDING_SCENE) & (groups.shot != GLOBAL_SHOT)
        backbone = make_backbone(graph, params, training.context)

        def at(time: jax.Array) -> jax.Array:
            added = flow.Draw(time=jnp.where(shots_BS, time, 0.0), noise=noise_BLC)
            return (weight_BL * flow.token_errors(backbone, batch, added)).sum()

        return jax.lax.map(at, jnp.asarray(times, jnp.float32))

    def evaluate(params: Any, batches: Sequence[PackedBatch]) -> dict[str, float]:
        keys = jax.random.split(jax.random.key(NOISE_SEED), len(batches))
        total = sum(errors(params, batch, key) for batch, key in zip(batches, keys, strict=True))
        means = total / sum(flow.count_samples(batch) for batch in batches)
        values = {f"held_out/loss_t{t:g}": float(m) for t, m in zip(times, means, strict=True)}
        return {"held_out/loss": float(means.mean()), **values}

    return evaluate
