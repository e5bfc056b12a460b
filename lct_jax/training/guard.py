"""The guard of a step refuses an update whose loss or gradient is not finite, or whose loss is far above recent ones.

It wraps a step and judges its loss and gradient norm inside the compiled program. Where an update is refused,
parameters, optimiser and EMA stay as they were, and the run goes on with the next batch: a bad record costs one step
and not the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.config import TrainingConfig
from lct_jax.errors import InputError

# The decay of the running mean of losses.
MEMORY = 0.99
# The number of updates before a loss can count as a spike, since the first losses fall steeply.
SETTLED = 100


class Guard(NamedTuple):
    """The state of the guard, which is part of the training state, so that a resumed run judges alike.

    Attributes:
        mean: float32, running mean of the loss of the updates that were made.
        made: int32, the number of updates that were made.
        skipped: int32, the number of updates that were refused.
        in_a_row: int32, how many were refused since the last update that was made.
    """

    mean: jax.Array
    made: jax.Array
    skipped: jax.Array
    in_a_row: jax.Array


def init_guard() -> Guard:
    """Returns the guard of step 0."""
    zero = lambda dtype: jnp.zeros((), dtype)
    return Guard(zero(jnp.float32), zero(jnp.int32), zero(jnp.int32), zero(jnp.int32))


def judge(
    guard: Guard, *, loss: jax.Array, norm: jax.Array, spike: float
) -> tuple[jax.Array, Guard]:
    """Returns whether an update is to be made, bool[], and the guard after it.

    Args:
        loss: the loss of the batch.
        norm: the norm of its gradient.
        spike: a loss above this many running means is refused.
    """
    settled = guard.made >= SETTLED
    good = jnp.isfinite(loss) & jnp.isfinite(norm) & ~(settled & (loss > spike * guard.mean))
    # The mean starts at zero; as with Adam's moments, dividing by the sum of weights makes it a mean from the start.
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
        step: (state, frozen, batch, key) -> (state, output), where the output has a loss and a gradient norm.
        spike: a loss above this many running means is refused.
    """

    def guarded(state: Any, frozen: Any, batch: Any, key: jax.Array) -> Any:
        new, output = step(state, frozen, batch, key)
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
