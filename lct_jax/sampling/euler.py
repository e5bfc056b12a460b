"""The loop of steps: one compiled program for all steps of a window, whatever its plan and its model.

The model is a `Partial` of (video, text, time_BS) -> velocity, so that a history of cached keys is an argument of the
program as the parameters are. The branches of guidance are rows of one call; a step without guidance computes the
prompted one alone. Which steps are run is decided at run time: windows of one shape share the program, and the host
waits for nothing between steps.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lct_jax.config import FlowConfig, SamplingConfig
from lct_jax.distributed.sharding import count_shards
from lct_jax.flow import shift_time
from lct_jax.sampling.guidance import guide, rescale
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, History, PackedBatch, TokenIndex, Tokens


class Scheme(NamedTuple):
    """How a step is taken; every scheme has a program of its own.

    Attributes:
        solver: "euler", or "heun", which averages the velocities at both ends of a step.
        rescale: the share in which a guided velocity is rescaled to the spread of the prompted one, 0 for none.
        skips: whether some steps are not guided, so that the program can leave their other rows out.
    """

    solver: str = "euler"
    rescale: float = 0.0
    skips: bool = False


EULER = Scheme()


class LoopInputs(NamedTuple):
    """What does not change while a window is denoised.

    Attributes:
        text: the text tokens of the window, a row for each branch of guidance.
        index: the index of its video tokens, as many rows.
        moving: bool[S], the groups that are denoised.
        held: float32[S], the constant time of the other groups.
        times: float32[steps + 1] from 1 to 0.
        guidance: float32[steps, rows - 1], the guidance scales of every step (`guide`).
    """

    text: Tokens
    index: TokenIndex
    moving: np.ndarray
    held: np.ndarray
    times: np.ndarray
    guidance: np.ndarray


def time_grid(steps: int, shift: float, solver: str = "euler") -> np.ndarray:
    """Returns times from 1 to 0, float32, shifted by a factor as those of training are.

    There are `steps` intervals for Euler. Heun's, which take two evaluations each and the last one, are as many as
    `steps` evaluations allow.
    """
    intervals = steps if solver == "euler" else (steps + 1) // 2
    return np.asarray(shift_time(np.linspace(1.0, 0.0, intervals + 1), shift), np.float32)


def find_times(sampling: SamplingConfig, flow: FlowConfig) -> np.ndarray:
    """Returns the times of steps, shifted as those of training where sampling has no shift of its own."""
    return time_grid(sampling.steps, sampling.shift or flow.shift, sampling.solver)


def make_loop_inputs(
    batch: PackedBatch,
    *,
    held: Mapping[int, float],
    times: np.ndarray,
    guidance: np.ndarray,
) -> LoopInputs:
    """Returns the inputs of the loop for a packed window.

    Args:
        held: the constant time of every slot that is not denoised; that of the global prompt is always 0.
        guidance: the scales of every step, float32[steps, rows - 1].
    """
    index = batch.video.index
    slots = int(index.slot.max()) + 1
    held_S, moving_S = np.zeros(slots, np.float32), np.zeros(slots, bool)
    moving_S[index.slot[0][index.shot[0] != GLOBAL_SHOT]] = True
    for slot, time in held.items():
        held_S[slot], moving_S[slot] = time, False
    return LoopInputs(batch.text, index, moving_S, held_S, times, guidance)


def times_of_groups(inputs: LoopInputs, time: jax.Array) -> jax.Array:
    """Returns the time of every group, float32[B S]: `time` for groups that are denoised, their constant one for
    others.
    """
    return jnp.tile(jnp.where(inputs.moving, time, inputs.held)[None], (_count_rows(inputs), 1))


def all_rows(inputs: LoopInputs, noisy_LC: jax.Array) -> Tokens:
    """Returns the video of all rows, which share it."""
    return Tokens(jnp.stack([noisy_LC] * _count_rows(inputs)), inputs.index)


def _count_rows(inputs: LoopInputs) -> int:
    return inputs.index.slot.shape[0]


@functools.partial(jax.jit, static_argnames="scheme")
def run_steps(
    velocity: Partial,
    inputs: LoopInputs,
    noisy_LC: jax.Array,
    first: int,
    last: int,
    scheme: Scheme = EULER,
) -> jax.Array:
    """Runs steps first..last - 1 of a window and returns the tokens; those of conditions do not change."""

    def ask(noisy_LC: jax.Array, number: jax.Array) -> jax.Array:
        times_BS = times_of_groups(inputs, inputs.times[number])
        batch = all_rows(inputs, noisy_LC), inputs.text, times_BS
        # Where each row has devices of its own, they would wait for each other, and nothing is saved.
        if not scheme.skips or count_shards("B") > 1:
            return velocity(*batch)
        guided = (inputs.guidance[number] != 1.0).any()
        return jax.lax.cond(guided, lambda: velocity(*batch), lambda: _ask_once(velocity, batch))

    def step(number: jax.Array, noisy_LC: jax.Array) -> jax.Array:
        answer_BLC = ask(noisy_LC, number)
        moved_LC = take_step(inputs, noisy_LC, answer_BLC, number, scheme)
        if scheme.solver == "euler":
            return moved_LC

        def correct() -> jax.Array:
            end_BLC = ask(moved_LC, number + 1)
            mean_LC = (
                _guide(inputs, answer_BLC, number, scheme)
                + _guide(inputs, end_BLC, number + 1, scheme)
            ) / 2  # fmt: skip
            return _move(inputs, noisy_LC, mean_LC, number)

        # There is nothing to correct with at time 0, where no noise is left to tell from the picture.
        return jax.lax.cond(inputs.times[number + 1] > 0, correct, lambda: moved_LC)

    return jax.lax.fori_loop(first, last, step, noisy_LC)


def _ask_once(velocity: Partial, batch: tuple[Tokens, Tokens, jax.Array]) -> jax.Array:
    """Returns the velocity of the prompted row, in all rows: guidance of any scale leaves it as it is."""
    prompted = jax.tree.map(_first_row, velocity, is_leaf=lambda x: isinstance(x, History))
    answer_BLC = prompted(*jax.tree.map(lambda leaf: leaf[:1], batch))
    return jnp.concatenate([answer_BLC] * len(batch[0].value))


def _first_row(argument: Any) -> Any:
    """Returns an argument of a pass for its first row alone: parameters and tables have no rows, a history has."""
    if not isinstance(argument, History):
        return argument
    k, v = jax.tree.map(lambda leaf: leaf[:, :1], (argument.k, argument.v))
    return History(k, v, argument.count[:1])


@functools.partial(jax.jit, static_argnames="scheme")
def take_step(
    inputs: LoopInputs,
    noisy_LC: jax.Array,
    velocity_BLC: jax.Array,
    number: jax.Array,
    scheme: Scheme = EULER,
) -> jax.Array:
    """Takes one Euler step along the guided velocity and returns the tokens."""
    return _move(inputs, noisy_LC, _guide(inputs, velocity_BLC, number, scheme), number)


def _guide(
    inputs: LoopInputs, velocity_BLC: jax.Array, number: jax.Array, scheme: Scheme
) -> jax.Array:
    """Returns the guided velocity [L C] of step `number`."""
    guided_LC = guide(velocity_BLC, inputs.guidance[number])
    if not scheme.rescale:
        return guided_LC
    slots, index = inputs.moving.shape[0], inputs.index
    # Padding has the slot of a shot, whose spread it must not change.
    slot_L = jnp.where(index.scene[0] == PADDING_SCENE, slots, index.slot[0])
    return rescale(guided_LC, velocity_BLC[0], slot_L, slots=slots + 1, share=scheme.rescale)


def _move(
    inputs: LoopInputs, noisy_LC: jax.Array, velocity_LC: jax.Array, number: jax.Array
) -> jax.Array:
    moving_L1 = inputs.moving[inputs.index.slot[0]][:, None]
    length = inputs.times[number + 1] - inputs.times[number]
    return jnp.where(moving_L1, noisy_LC + length * velocity_LC, noisy_LC)
