"""`attend` computes attention between visible tokens; `attend_dense` is the reference that kernels are tested against.

Queries, keys and values have the heads before the tokens, which is the faster layout on CPU and TPU. Their tokens are
in the order in which `join` stores them, and `KeySpans` says which keys a query sees. Scores and softmax are float32.
The config chooses the kernel; on a mesh, it works on whole rows of some heads (`ulysses`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lct_jax.attention import ulysses
from lct_jax.attention.chunked import MASKED, AttentionOutput, attend_chunked
from lct_jax.attention.mask import KeySpans, reorder
from lct_jax.attention.mosaic import attend_mosaic
from lct_jax.attention.splash import attend_splash
from lct_jax.attention.triton import attend_triton
from lct_jax.config import Kernel
from lct_jax.distributed.sharding import find_platform

# The kernel of each platform; all others use chunks.
BEST = {"tpu": "mosaic", "gpu": "triton"}


def attend(
    q_BHLK: jax.Array,
    k_BHMK: jax.Array,
    v_BHMK: jax.Array,
    *,
    spans: KeySpans,
    kernel: Kernel = "auto",
) -> AttentionOutput:
    """Returns softmax attention over visible keys; the value of a padding query is zero.

    Args:
        spans: the key intervals of whole rows, also where a device holds only a part of their tokens.
        kernel: the kernel to use; "auto" chooses it by the platform that the program is compiled for.
    """
    return ulysses.attend_spread(_choose(kernel), q_BHLK, k_BHMK, v_BHMK, spans)


def name_kernel(kernel: Kernel, platform: str) -> Kernel:
    """Returns the kernel that is used on a platform: the best one there for "auto", else `kernel` itself."""
    return BEST.get(platform, "chunked") if kernel == "auto" else kernel


def _choose(kernel: Kernel) -> ulysses.Kernel:
    """Returns the kernel of a name, as a function of whole rows in stored order."""
    platform = find_platform()
    kernel = name_kernel(kernel, platform)

    def run(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans) -> AttentionOutput:
        if kernel == "splash":
            return attend_splash(q, k, v, spans, platform != "tpu")
        if kernel == "mosaic":
            return attend_mosaic(q, k, v, spans.start, spans.end, platform != "tpu")
        if kernel == "triton":
            return attend_triton(q, k, v, spans.start, spans.end, platform != "gpu")
        return attend_chunked(q, k, v, spans.start, spans.end)

    return _sorted(run)


def _sorted(kernel: ulysses.Kernel) -> ulysses.Kernel:
    """Returns a kernel that sorts its inputs first and returns its output in the order of the queries."""

    def run(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans) -> AttentionOutput:
        value, lse = kernel(
            reorder(q, *spans.query), reorder(k, *spans.key), reorder(v, *spans.key), spans
        )
        order, inverse = spans.query
        return AttentionOutput(
            reorder(value, inverse, order), reorder(lse[..., None], inverse, order)[..., 0]
        )

    return run


def attend_dense(
    q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, seen_BLM: jax.Array
) -> AttentionOutput:
    """Returns what `attend` computes, from a whole mask as `visible` gives it; this is the reference for tests."""
    return attend_biased(q_BHLK, k_BHMK, v_BHMK, jnp.where(seen_BLM, 0.0, -jnp.inf))


def attend_biased(
    q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, bias_BLM: jax.Array
) -> AttentionOutput:
    """Returns attention with a number added to the score of every pair, -inf where a query does not see a key.

    The scores of all pairs are in memory at once, so it is for small models alone.
    """
    bias = bias_BLM[:, None]
    seen = bias > -jnp.inf
    score = jnp.einsum("BHLK,BHMK->BHLM", q_BHLK, k_BHMK, preferred_element_type=jnp.float32)
    score = jnp.where(seen, score * q_BHLK.shape[-1] ** -0.5 + bias, MASKED)
    weight = jnp.where(seen, jax.nn.softmax(score, axis=-1), 0.0).astype(v_BHMK.dtype)
    lse = jnp.where(seen.any(-1), jax.nn.logsumexp(score, axis=-1), MASKED)
    return AttentionOutput(jnp.einsum("BHLM,BHMK->BHLK", weight, v_BHMK), lse)
