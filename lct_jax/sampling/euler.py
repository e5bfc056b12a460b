"""The Euler loop: one compiled program for all steps of a window, whatever its plan and its model.

The model is a `Partial` of (video, text, time_BS) -> velocity, so that a history of cached keys is an argument of the
program as the parameters are. Both guidance branches are rows of one call. Which steps are run is decided at run time:
windows of one shape share the program, and the host waits for nothing between steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lct_jax.flow import shift_time
from lct_jax.sampling.guidance import BRANCHES, guide
from lct_jax.types import GLOBAL_SHOT, PackedBatch, TokenIndex, Tokens


class LoopInputs(NamedTuple):
    """What does not change while a window is denoised.

    Attributes:
        text: the text tokens of the window, two rows.
        index: the index of its video tokens, two rows.
        moving: bool[S], the groups that are denoised.
        held: float32[S], the constant time of the other groups.
        times: float32[steps + 1] from 1 to 0.
        guidance: the guidance scale.
    """

    text: Tokens
    index: TokenIndex
    moving: np.ndarray
    held: np.ndarray
    times: np.ndarray
    guidance: np.float32


def time_grid(steps: int, shift: float) -> np.ndarray:
    """Returns float32[steps + 1] times from 1 to 0, shifted by a factor as those of training are."""
    return np.asarray(shift_time(np.linspace(1.0, 0.0, steps + 1), shift), np.float32)


def make_loop_inputs(
    batch: PackedBatch, *, held: Mapping[int, float], times: np.ndarray, guidance: float
) -> LoopInputs:
    """Returns the inputs of the loop for a packed window.

    Args:
        held: the constant time of every slot that is not denoised; that of the global prompt is always 0.
    """
    index = batch.video.index
    slots = int(index.slot.max()) + 1
    held_S, moving_S = np.zeros(slots, np.float32), np.zeros(slots, bool)
    moving_S[index.slot[0][index.shot[0] != GLOBAL_SHOT]] = True
    for slot, time in held.items():
        held_S[slot], moving_S[slot] = time, False
    return LoopInputs(batch.text, index, moving_S, held_S, times, np.float32(guidance))


def times_of_groups(inputs: LoopInputs, time: jax.Array) -> jax.Array:
    """Returns the time of every group, float32[B S]: `time` for groups that are denoised, their constant one for
    others.
    """
    return jnp.tile(jnp.where(inputs.moving, time, inputs.held)[None], (BRANCHES, 1))


def both_rows(inputs: LoopInputs, noisy_LC: jax.Array) -> Tokens:
    """Returns the video of both guidance branches, which share it."""
    return Tokens(jnp.stack([noisy_LC] * BRANCHES), inputs.index)


@jax.jit
def run_steps(
    velocity: Partial, inputs: LoopInputs, noisy_LC: jax.Array, first: int, last: int
) -> jax.Array:
    """Runs Euler steps first..last - 1 of a window and returns the tokens; those of conditions do not change."""

    def step(number: jax.Array, noisy_LC: jax.Array) -> jax.Array:
        times = times_of_groups(inputs, inputs.times[number])
        answer_BLC = velocity(both_rows(inputs, noisy_LC), inputs.text, times)
        return take_step(inputs, noisy_LC, answer_BLC, number)

    return jax.lax.fori_loop(first, last, step, noisy_LC)


@jax.jit
def take_step(
    inputs: LoopInputs, noisy_LC: jax.Array, velocity_BLC: jax.Array, number: jax.Array
) -> jax.Array:
    """Takes one Euler step along the guided velocity and returns the tokens."""
    moving_L1 = inputs.moving[inputs.index.slot[0]][:, None]
    length = inputs.times[number + 1] - inputs.times[number]
    moved_LC = noisy_LC + length * guide(velocity_BLC, inputs.guidance)
    return jnp.where(moving_L1, moved_LC, noisy_LC)
