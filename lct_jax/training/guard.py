"""The guard of a step: an update that is not a number, or whose loss is far above the recent ones, is not made.

It wraps a step and judges its loss and gradient norm inside the compiled program. Where an update is refused,
parameters, optimiser and EMA stay as they were, and the run goes on with the next batch: one bad record costs a step
and not the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.config import TrainingConfig
from lct_jax.errors import InputError

MEMORY = 0.99  # of the running mean of losses
SETTLED = 100  # updates before a loss can be called a spike: the first ones fall steeply


class Guard(NamedTuple):
    """What the guard remembers; part of the training state, so that a resumed run judges alike.

    Attributes:
        mean: float32, running mean of the loss of updates made. made: int32, how many there were.
        skipped: int32, updates not made. in_a_row: int32, how many of them just now.
    """

    mean: jax.Array
    made: jax.Array
    skipped: jax.Array
    in_a_row: jax.Array


def init_guard() -> Guard:
    """Nothing seen yet."""
    zero = lambda dtype: jnp.zeros((), dtype)
    return Guard(zero(jnp.float32), zero(jnp.int32), zero(jnp.int32), zero(jnp.int32))


def judge(
    guard: Guard, *, loss: jax.Array, norm: jax.Array, spike: float
) -> tuple[jax.Array, Guard]:
    """Whether an update is to be made, bool[], and what the guard remembers then.

    Args:
        loss: of the batch. norm: of its gradient. spike: a loss above so many running means is one.
    """
    settled = guard.made >= SETTLED
    good = jnp.isfinite(loss) & jnp.isfinite(norm) & ~(settled & (loss > spike * guard.mean))
    # Like Adam's moments, the mean starts at zero; divided by what it has seen, it is one from the first step on.
    rate = (1.0 - MEMORY) / (1.0 - MEMORY ** (guard.made + 1.0))
    mean = jnp.where(
        good, guard.mean + rate * (jnp.where(good, loss, 0.0) - guard.mean), guard.mean
    )
    missed = jnp.where(good, 0, 1)
    return good, Guard(
        mean=mean,
        made=guard.made + 1 - missed,
        skipped=guard.skipped + missed,
        in_a_row=(guard.in_a_row + 1) * missed,
    )


def guard_step(step: Callable[..., Any], *, spike: float) -> Callable[..., Any]:
    """Returns a step whose bad updates are not made; the guard is part of the state that it takes and returns.

    Args:
        step: (state, batch, key) -> (state, output), where the output has a loss and a gradient norm.
        spike: a loss of so many times the running mean is bad.
    """

    def guarded(state: Any, batch: Any, key: jax.Array) -> Any:
        new, output = step(state, batch, key)
        good, guard = judge(state.guard, loss=output.loss, norm=output.gradient_norm, spike=spike)
        choose = lambda new, old: jnp.where(good, new, old)
        kept = jax.tree.map(
            choose, (new.params, new.ema, new.opt_state), (state.params, state.ema, state.opt_state)
        )
        return type(state)(new.step, *kept, guard), output

    return guarded


def check_guard(in_a_row: int, training: TrainingConfig) -> None:
    """Raises InputError once `training.most_skipped` updates in a row were not made."""
    if in_a_row >= training.most_skipped:
        raise InputError(
            f"training: {in_a_row} updates in a row were not made, for their loss or gradient was no number or their "
            f"loss over {training.spike:g} times the recent mean; expected fewer than {training.most_skipped} "
            "(training.most_skipped): lower training.learning_rate, or look at the records named above"
        )
