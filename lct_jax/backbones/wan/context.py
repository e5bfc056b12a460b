"""The text of a group as its video reads it: a span of the packed text, and zeros behind it up to a fixed number.

Published Wan pads every prompt with zeros to 512 places and masks none of them, so that they are keys like others.
They are all alike: one key whose score is raised by the logarithm of their number stands for all of them, exactly.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lct_jax.attention.chunked import MASKED, AttentionOutput
from lct_jax.attention.mask import KeySpans, find_spans
from lct_jax.backbones.layers import recomputed_apart
from lct_jax.types import TokenIndex


def find_context(video: TokenIndex, text: TokenIndex, *, places: int) -> tuple[KeySpans, jax.Array]:
    """Returns which text every video token reads: that of its own group.

    Args:
        video, text: the indices of whole rows.
        places: the number of text tokens and zeros together that a video token reads.

    Returns:
        The spans of text in which each video token finds its own group's, and float32[B L], the logarithm of how many
        zeros stand behind it (`MASKED` for none).
    """
    spans = find_spans(video, text, "own")
    count_BL = jnp.take_along_axis(spans.end - spans.start, spans.query.inverse, axis=1)
    missing_BL = places - count_BL
    log_BL = jnp.log(jnp.maximum(missing_BL, 1).astype(jnp.float32))
    return spans, jnp.where(missing_BL > 0, log_BL, MASKED)


def attend_to_zeros(
    q_BHLK: jax.Array,
    k_1H1K: jax.Array,
    v_1H1K: jax.Array,
    missing_BL: jax.Array,
    *,
    apart: bool = False,
) -> AttentionOutput:
    """Returns attention to a number of keys that are all equal.

    Args:
        k_1H1K, v_1H1K: key and value of one of them. missing_BL: the logarithm of their number.
        apart: whether the backward pass takes the products anew, behind a barrier.
    """
    score = recomputed_apart(_score) if apart else _score
    score_BHL = score(q_BHLK, k_1H1K[0, :, 0])
    lse_BHL = score_BHL * q_BHLK.shape[-1] ** -0.5 + missing_BL[:, None]
    value = jnp.broadcast_to(v_1H1K, q_BHLK.shape).astype(q_BHLK.dtype)
    return AttentionOutput(value, jnp.maximum(lse_BHL, MASKED))


def _score(q_BHLK: jax.Array, k_HK: jax.Array) -> jax.Array:
    """Returns the products of queries with one key, float32[B H L]; a TPU copies the queries into float32 for it."""
    return jnp.einsum("BHLK,HK->BHL", q_BHLK, k_HK, preferred_element_type=jnp.float32)
