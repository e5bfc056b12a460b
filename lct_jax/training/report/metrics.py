"""The metrics of a step: a few numbers a row, computed inside the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lct_jax import flow
from lct_jax.costs.step import GroupSizes, count_groups
from lct_jax.types import PackedBatch


class Metrics(NamedTuple):
    """The metrics of one step, on the device.

    Attributes:
        loss: float32, mean over the samples of the batch.
        gradient_norm: float32.
        skipped_in_a_row: int32, 0 where the update of the step was made.
        breakdown: the loss by diffusion time and by shot.
        sizes: tokens of every group slot.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    skipped_in_a_row: jax.Array
    breakdown: flow.Breakdown
    sizes: GroupSizes


def measure_step(step: Callable[..., Any], *, slots: int) -> Callable[..., Any]:
    """Returns a step whose output is its `Metrics`; `step` returns a `StepOutput`, and `slots` is S."""

    def measured(
        state: Any, frozen: Any, batch: PackedBatch, key: jax.Array
    ) -> tuple[Any, Metrics]:
        state, output = step(state, frozen, batch, key)
        index = batch.video.index
        return state, Metrics(
            loss=output.loss,
            gradient_norm=output.gradient_norm,
            skipped_in_a_row=state.guard.in_a_row,
            breakdown=flow.break_down(output.errors, output.weights, index, output.time),
            sizes=count_groups(batch, slots),
        )

    return measured
