"""Text-only classifier-free guidance over a pair of rows.

Row 0 of every tensor carries the prompts, row 1 the negative prompts; both carry the same video tokens, so noise
and visual conditions stay in both branches [LCT supplement A.2].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.config import SamplingConfig

BRANCHES = 2


def guide(velocity_BLC: jax.Array, scale: float) -> jax.Array:
    """Returns u + scale (c - u) [L C] of a (c, u) pair [2 L C]; where c equals u, the result is u at any scale."""
    prompted_LC, negative_LC = velocity_BLC
    return negative_LC + scale * (prompted_LC - negative_LC)


def scale_steps(config: SamplingConfig, times: np.ndarray) -> np.ndarray:
    """Returns the guidance scale of every step, float32[steps]: outside of the interval of times it is 1.

    (An interval: arXiv 2404.07724.)
    """
    start = times[:-1]
    inside = (start >= config.guidance_from) & (start <= config.guidance_to)
    return np.where(inside, config.guidance, 1.0).astype(np.float32)


def is_always_guided(config: SamplingConfig) -> bool:
    """Returns whether guidance changes the velocity at every time."""
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
