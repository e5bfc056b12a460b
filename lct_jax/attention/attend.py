"""Attention between tokens that see each other: `attend`, and the dense reference every kernel is held to.

Queries, keys and values enter heads-first (the faster layout on CPU and TPU alike), in the order in which `join`
stores them; `KeySpans` says who sees whom. Scores and softmax are float32. Which kernel computes it is a value of the
config; on a mesh it works on whole rows of some heads (`ulysses`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lct_jax.attention import ulysses
from lct_jax.attention.chunked import MASKED, AttentionOutput, attend_chunked
from lct_jax.attention.mask import KeySpans, reorder
from lct_jax.attention.splash import attend_splash
from lct_jax.attention.triton import attend_triton
from lct_jax.config import Kernel
from lct_jax.distributed.sharding import find_platform

BEST = {"tpu": "splash", "gpu": "triton"}  # kernel by platform; chunks elsewhere


def attend(
    q_BHLK: jax.Array,
    k_BHMK: jax.Array,
    v_BHMK: jax.Array,
    *,
    spans: KeySpans,
    kernel: Kernel = "auto",
) -> AttentionOutput:
    """Softmax attention over visible keys; a padding query gives zeros.

    Args:
        spans: of whole rows, whatever part of them is here.
        kernel: which computes it; "auto" by the platform that the program is compiled for.
    """
    return ulysses.attend_spread(_choose(kernel), q_BHLK, k_BHMK, v_BHMK, spans)


def name_kernel(kernel: Kernel, platform: str) -> Kernel:
    """The kernel that a config takes on a platform: what "auto" stands for."""
    return BEST.get(platform, "chunked") if kernel == "auto" else kernel


def _choose(kernel: Kernel) -> ulysses.Kernel:
    """The kernel behind a name, on whole rows in stored order."""
    platform = find_platform()
    kernel = name_kernel(kernel, platform)

    def run(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans) -> AttentionOutput:
        if kernel == "splash":
            return attend_splash(q, k, v, spans, platform != "tpu")
        if kernel == "triton":
            return attend_triton(q, k, v, spans.start, spans.end, platform != "gpu")
        return attend_chunked(q, k, v, spans.start, spans.end)

    return _sorted(run)


def _sorted(kernel: ulysses.Kernel) -> ulysses.Kernel:
    """Sorts tokens for a kernel, and puts what it gives back in the order of the queries."""

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
    """What `attend` computes, with the whole mask of `visible` at hand: the reference for tests."""
    seen = seen_BLM[:, None]
    score = jnp.einsum("BHLK,BHMK->BHLM", q_BHLK, k_BHMK, preferred_element_type=jnp.float32)
    score = jnp.where(seen, score * q_BHLK.shape[-1] ** -0.5, MASKED)
    weight = jnp.where(seen, jax.nn.softmax(score, axis=-1), 0.0).astype(v_BHMK.dtype)
    lse = jnp.where(seen.any(-1), jax.nn.logsumexp(score, axis=-1), MASKED)
    return AttentionOutput(jnp.einsum("BHLM,BHMK->BHLK", weight, v_BHMK), lse)
