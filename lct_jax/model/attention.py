"""Attention between tokens that see each other: `attend`, and the dense reference every kernel is held to.

Queries, keys and values enter heads-first (the faster layout on CPU and TPU alike), in the order in which streams
are stored; `Sight` says who sees whom. Scores and softmax are float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lct_jax.model.chunked import MASKED, Attended, attend_chunked
from lct_jax.model.visibility import Sight, reorder


def attend(q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, *, sight: Sight) -> Attended:
    """Softmax attention over visible keys; a padding query gives zeros.

    Tokens are sorted for the kernel, and what it gives is put back in the order of the queries.
    """
    value, lse = attend_chunked(
        reorder(q_BHLK, *sight.query),
        reorder(k_BHMK, *sight.key),
        reorder(v_BHMK, *sight.key),
        sight.start,
        sight.end,
    )
    there, back = sight.query
    return Attended(reorder(value, back, there), reorder(lse[..., None], back, there)[..., 0])


def attend_dense(
    q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, seen_BLM: jax.Array
) -> Attended:
    """What `attend` computes, with the whole mask of `visible` at hand: the reference for tests."""
    seen = seen_BLM[:, None]
    score = jnp.einsum("BHLK,BHMK->BHLM", q_BHLK, k_BHMK, preferred_element_type=jnp.float32)
    score = jnp.where(seen, score * q_BHLK.shape[-1] ** -0.5, MASKED)
    weight = jnp.where(seen, jax.nn.softmax(score, axis=-1), 0.0).astype(v_BHMK.dtype)
    lse = jnp.where(seen.any(-1), jax.nn.logsumexp(score, axis=-1), MASKED)
    return Attended(jnp.einsum("BHLM,BHMK->BHLK", weight, v_BHMK), lse)
