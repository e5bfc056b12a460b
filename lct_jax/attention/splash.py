"""Softmax attention over intervals of keys with JAX's splash kernels, for TPU.

Queries and keys are sorted as the `KeySpans` of a batch say. The kernels (jax.experimental.pallas, after
FlashAttention-2, arXiv 2307.08691) are made for masks that are known when a program is traced; here the mask is data.
Within a scene the mask is `key < end of the query`. So each query's end is passed to the kernel's mask function in
place of the query's number, the segments of the spans are the kernel's segments, and which blocks are skipped is
computed at run time. This module adds what the kernels lack: bounds for each row of a batch, lengths that are no
multiple of a block, queries that see nothing, and the log-sum-exp with its gradient.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

from lct_jax.attention.blocks import block_size, fill_up, map_rows, scale_queries
from lct_jax.attention.chunked import ATTENDED, FLOAT, MASKED, AttentionOutput
from lct_jax.attention.mask import KeySpans
from lct_jax.jax_internals import splash_backward_keys, splash_backward_queries

# The largest number of queries or keys of a block, and of keys that are computed at once.
BLOCK, COMPUTE = 1024, 512
# The segment of keys that only pad a block.
NO_SEGMENT = -1


class _Row(NamedTuple):
    """One row, padded to whole blocks: heads-first arrays [H L K], and which keys each query sees."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    start: jax.Array
    end: jax.Array
    segment: jax.Array
    key_segment: jax.Array


class _Sizes(NamedTuple):
    q: int
    k: int


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend_splash(
    q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, spans: KeySpans, interpret: bool
) -> AttentionOutput:
    """Returns attention from sorted queries to the keys that `spans` gives them; scores and softmax are float32.

    Args:
        interpret: whether the kernel runs as plain operations, slowly, on any platform.
    """
    sizes = _Sizes(block_size(q_BHLK.shape[2], BLOCK), block_size(k_BHMK.shape[2], BLOCK))
    run = functools.partial(_attend_row, sizes=sizes, interpret=interpret)
    value, lse = map_rows(run, _fill(q_BHLK, k_BHMK, v_BHMK, spans, sizes))
    length = q_BHLK.shape[2]
    seen = (spans.start < spans.end)[:, None]
    return AttentionOutput(
        jnp.where(seen[..., None], value[:, :, :length], 0),
        jnp.where(seen, lse[:, :, :length], MASKED),
    )


def _attend_row(row: _Row, *, sizes: _Sizes, interpret: bool) -> tuple[jax.Array, jax.Array]:
    attend = kernels.SplashAttentionKernel(
        _mask(row, sizes, over=1),
        None,
        None,
        block_sizes=kernels.BlockSizes(
            block_q=sizes.q, block_kv=sizes.k, block_kv_compute=_compute_size(sizes.k)
        ),
        is_mqa=False,
        save_residuals=True,
        mask_value=kernels.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=None,
        mask_function=_is_before,
        interpret=interpret,
    )
    value, (lse,) = attend(scale_queries(row.q), row.k, row.v, segment_ids=_segments(row))
    return value, lse


def _save(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans, interpret: bool) -> tuple:
    attended = attend_splash(q, k, v, spans, interpret)
    attended = AttentionOutput(*(checkpoint_name(x, ATTENDED) for x in attended))
    return attended, (q, k, v, spans, attended)


def _backward(interpret: bool, saved: tuple, gradient: AttentionOutput) -> tuple:
    q, k, v, spans, attended = saved
    sizes = _Sizes(block_size(q.shape[2], BLOCK), block_size(k.shape[2], BLOCK))
    seen = (spans.start < spans.end)[:, None]
    # The gradient of a score is weight * (gradient of the weight - mean); log-sum-exp contributes to the mean.
    mean = (attended.value.astype(FLOAT) * gradient.value.astype(FLOAT)).sum(-1) - gradient.lse
    mean = jnp.where(seen, mean, 0.0)
    # A log-sum-exp this high makes the weights of a query that sees nothing zero.
    lse = jnp.where(seen, attended.lse, -MASKED)
    fill = functools.partial(fill_up, multiple=sizes.q, axis=2)
    lse = fill_up(lse, sizes.q, axis=2, value=-MASKED)
    rows = _fill(q, k, v, spans, sizes), lse, fill(mean), fill(gradient.value.astype(q.dtype))
    run = functools.partial(_backward_row, sizes=sizes, interpret=interpret)
    dq, dk, dv = map_rows(run, rows)
    return dq[:, :, : q.shape[2]], dk[:, :, : k.shape[2]], dv[:, :, : k.shape[2]], None


def _backward_row(
    inputs: tuple[_Row, jax.Array, jax.Array, jax.Array], *, sizes: _Sizes, interpret: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    row, lse, mean, d_value = inputs
    given = (scale_queries(row.q), row.k, row.v, _segments(row), None, lse, d_value, mean)
    shared = {
        "bq": sizes.q,
        "bkv": sizes.k,
        "is_mqa": False,
        "mask_value": kernels.DEFAULT_MASK_VALUE,
        "attn_logits_soft_cap": None,
        "mask_function": _is_before,
        "interpret": interpret,
    } | {f"{x}_layout": kernels.QKVLayout.HEAD_DIM_MINOR for x in "qkv"}
    # The fused kernel would keep a gradient of the queries for every block of keys, so two kernels are used.
    _, dk, dv = splash_backward_keys(
        *given,
        mask_info=_mask(row, sizes, over=0),
        bkv_compute=_compute_size(sizes.k),
        use_fused_bwd_kernel=False,
        **shared,
    )
    dq = splash_backward_queries(*given, mask_info=_mask(row, sizes, over=1), **shared)
    return scale_queries(dq), dk, dv


attend_splash.defvjp(_save, _backward)


def _is_before(end: jax.Array, place: jax.Array) -> jax.Array:
    """Returns the kernel's mask inside a scene. It is a function of the module, because JAX caches the kernel by it."""
    return place < end


def _mask(row: _Row, sizes: _Sizes, *, over: int) -> MaskInfo:
    """Returns the kernel's description of the mask: which blocks run, and which block is loaded when one does not.

    Args:
        over: axis along which the kernel's inner loop runs: 1 along blocks of keys, 0 along blocks of queries.
    """
    start, end = (x.reshape(-1, sizes.q) for x in (row.start, row.end))
    some = start < end
    first = jnp.where(some, start, jnp.iinfo(jnp.int32).max).min(1)[:, None]
    last = jnp.where(some, end, 0).max(1)[:, None]
    at = jnp.arange(row.k.shape[1] // sizes.k)[None] * sizes.k
    runs = (at < last) & (at + sizes.k > first)
    number = jnp.arange(runs.shape[over], dtype=jnp.int32)
    number = jnp.expand_dims(number, 1 - over)
    # A skipped block names the block before it, or the first one to come, so that nothing is loaded for it.
    before = jax.lax.cummax(jnp.where(runs, number, -1), axis=over)
    first_run = jnp.argmax(runs, axis=over, keepdims=True).astype(jnp.int32)
    return MaskInfo(
        data_next=jnp.where(before < 0, first_run, before)[None],
        mask_next=None,
        block_mask=runs.astype(jnp.int32)[None],
        partial_mask_blocks=None,
        q_sequence=row.end,
    )


def _segments(row: _Row) -> kernels.SegmentIds:
    return kernels.SegmentIds(row.segment, row.key_segment)


def _fill(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans, sizes: _Sizes) -> _Row:
    """Returns the row padded to whole blocks with queries that see nothing and keys that nothing sees."""
    return _Row(
        q=fill_up(q, sizes.q, axis=2),
        k=fill_up(k, sizes.k, axis=2),
        v=fill_up(v, sizes.k, axis=2),
        start=fill_up(spans.start, sizes.q, axis=1),
        end=fill_up(spans.end, sizes.q, axis=1),
        segment=fill_up(spans.query_segment, sizes.q, axis=1),
        key_segment=fill_up(spans.key_segment, sizes.k, axis=1, value=NO_SEGMENT),
    )


def _compute_size(block: int) -> int:
    """Returns how many keys of a block are computed at once."""
    return COMPUTE if block % COMPUTE == 0 else block
