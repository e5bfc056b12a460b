"""Which token sees which, and attention over that.

Queries, keys and values enter heads-first (the faster layout on CPU and TPU alike) with the `TokenIndex` of
their tokens; there is one mask function in the project, `visible`, and everything it needs is in the index.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from lct_jax.types import PADDING_SCENE, TokenIndex

Context = Literal["full", "causal"]
MASKED = -1e30  # finite, so that a query that sees nothing has finite gradients


def visible(query: TokenIndex, key: TokenIndex, context: Context) -> jax.Array:
    """bool[B L M]: whether a query token sees a key token.

    Full context: the same scene, and neither is padding. Causal context also asks that the key's group is not
    later than the query's; inside a group attention stays bidirectional [LCT section 3.4].
    """
    scene_q, scene_k = query.scene[:, :, None], key.scene[:, None, :]
    seen = (scene_q == scene_k) & (scene_k != PADDING_SCENE)
    if context == "causal":
        seen &= key.shot[:, None, :] <= query.shot[:, :, None]
    return seen


def attend(
    q_BHLK: jax.Array,
    k_BHMK: jax.Array,
    v_BHMK: jax.Array,
    *,
    query: TokenIndex,
    key: TokenIndex,
    context: Context,
) -> jax.Array:
    """Softmax attention over visible keys: [B H L K] in the dtype of v; a padding query gives zeros.

    Scores and softmax are float32.
    """
    scale = q_BHLK.shape[-1] ** -0.5
    seen_B1LM = visible(query, key, context)[:, None]
    score_BHLM = jnp.einsum("BHLK,BHMK->BHLM", q_BHLK, k_BHMK, preferred_element_type=jnp.float32)
    weight_BHLM = jax.nn.softmax(jnp.where(seen_B1LM, score_BHLM * scale, MASKED), axis=-1)
    # A query that sees nothing would spread evenly over all keys: it gets zeros instead.
    weight_BHLM = jnp.where(seen_B1LM, weight_BHLM, 0.0).astype(v_BHMK.dtype)
    return jnp.einsum("BHLM,BHMK->BHLK", weight_BHLM, v_BHMK)
