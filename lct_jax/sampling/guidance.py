"""Classifier-free guidance over the rows of a pass: by text, and by the shots that a new shot sees.

Row 0 of every tensor carries the prompts, row 1 the negative prompts; all rows carry the same video tokens, so noise
and visual conditions stay in all [LCT supplement A.2]. Guidance by history (arXiv 2502.06764) adds a row with negative
prompts whose shots see none of those that are held, or puts it in the place of row 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.config import SamplingConfig

# A shot has two texts, its prompt and its negative prompt.
TEXTS = 2


class Branch(NamedTuple):
    """What a row of a pass computes.

    Attributes:
        negative: whether it reads the negative prompts.
        apart: whether its shots see no finished and no given ones.
    """

    negative: bool
    apart: bool = False


BOTH_TEXTS = (Branch(negative=False), Branch(negative=True))
ALONE = Branch(negative=True, apart=True)


def choose_branches(config: SamplingConfig, *, held: bool, spread: int) -> tuple[Branch, ...]:
    """Returns what the rows of a pass compute.

    Args:
        held: whether there are finished or given shots in the window.
        spread: the number of groups of devices over which rows are spread. The last row is repeated, so that each group
            has as many.
    """
    if not held or config.history_guidance == 1.0:
        rows = BOTH_TEXTS
    elif config.history_guidance == config.guidance:
        rows = (BOTH_TEXTS[0], ALONE)
    else:
        rows = (*BOTH_TEXTS, ALONE)
    return rows + rows[-1:] * (-len(rows) % spread)


def guide(velocity_BLC: jax.Array, scales: Sequence[float] | jax.Array) -> jax.Array:
    """Returns the guided velocity [L C] of rows; where they are equal, it equals them at any scales.

    Args:
        velocity_BLC: the velocities of the rows; more rows than scales and one are repetitions.
        scales: float32[rows - 1], how far the result goes along the way from each row to the one before it: u + s (c -
            u) of two rows c and u, and u + t (h - u) + s (c - h) of three.
    """
    guided_LC = velocity_BLC[len(scales)]
    for row in reversed(range(len(scales))):
        way_LC = velocity_BLC[row] - velocity_BLC[row + 1]
        guided_LC = guided_LC + scales[row] * way_LC
    return guided_LC


def scale_steps(
    config: SamplingConfig, times: np.ndarray, branches: Sequence[Branch] = BOTH_TEXTS
) -> np.ndarray:
    """Returns the scales of every step, float32[steps, rows - 1] (`guide`).

    Outside of the interval of times they are 1 (arXiv 2404.07724).
    """
    count = len(set(branches)) - 1
    scales = np.float32([config.guidance, config.history_guidance])[:count]
    start = times[:-1, None]
    inside = (start >= config.guidance_from) & (start <= config.guidance_to)
    return np.where(inside, scales, np.float32(1.0))


def is_always_guided(config: SamplingConfig) -> bool:
    """Returns whether guidance by text changes the velocity at every time."""
    whole = config.guidance_from == 0.0 and config.guidance_to == 1.0
    return whole and config.guidance != 1.0


def rescale(
    guided_LC: jax.Array, prompted_LC: jax.Array, slot_L: jax.Array, *, slots: int, share: float
) -> jax.Array:
    """Returns a guided velocity whose standard deviation, in each slot, is brought to that of the prompted one.

    Args:
        share: how much of the result is rescaled; the rest stays (phi of arXiv 2305.08891, section 3.4).
    """
    ratio_S = _deviation(prompted_LC, slot_L, slots) / _deviation(guided_LC, slot_L, slots)
    return guided_LC * (share * ratio_S[slot_L] + 1.0 - share)[:, None]


def _deviation(value_LC: jax.Array, slot_L: jax.Array, slots: int) -> jax.Array:
    """Returns the standard deviation over the tokens and channels of each slot, float32[S], at least 1e-6."""
    add = lambda x: jax.ops.segment_sum(x, slot_L, num_segments=slots)
    count_S = jnp.maximum(add(jnp.ones_like(slot_L, jnp.float32)), 1.0)
    mean_S = add(value_LC.mean(-1)) / count_S
    square_S = add(jnp.square(value_LC - mean_S[slot_L][:, None]).mean(-1)) / count_S
    return jnp.maximum(jnp.sqrt(square_S), 1e-6)
