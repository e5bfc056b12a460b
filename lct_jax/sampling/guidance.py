"""Text-only classifier-free guidance over a pair of rows.

Row 0 of every tensor carries the prompts, row 1 the negative prompts; both carry the same video tokens, so noise
and visual conditions stay in both branches [LCT supplement A.2].
"""

from __future__ import annotations

import jax

BRANCHES = 2


def guide(velocity_BLC: jax.Array, scale: float) -> jax.Array:
    """Returns u + scale (c - u) [L C] of a (c, u) pair [2 L C]; where c equals u, the result is u at any scale."""
    prompted_LC, negative_LC = velocity_BLC
    return negative_LC + scale * (prompted_LC - negative_LC)
