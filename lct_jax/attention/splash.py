"""Softmax attention over intervals of keys with JAX's splash kernels: for TPU.

Queries and keys enter sorted, with the `KeySpans` of a batch. The kernels (jax.experimental.pallas, after
FlashAttention-2, arXiv 2307.08691) are made for masks that are known when a program is traced; here the mask is
data. Within a scene it is `key < end of the query`, so each query's end takes the place of its number in the
kernel's mask function, segments of the spans are the kernel's, and which blocks are skipped is computed at run time.
What the kernels leave open is closed here: rows of a batch with bounds of their own, lengths that blocks do not
divide, queries that see nothing, and the log-sum-exp with its gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

from lct_jax.attention.chunked import ATTENDED, FLOAT, MASKED, AttentionOutput
from lct_jax.attention.mask import KeySpans

LANES = 128  # of a vector unit; blocks are multiples of it
BLOCK, COMPUTE = (
    1024,
    512,
)  # queries and keys of a block at most, and keys that are computed at once
NO_SEGMENT = -1  # of keys that only fill a block


class _Row(NamedTuple):
    """One row: heads-first arrays [H L K] and what each query sees, all filled up to whole blocks."""

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
    """Attends from sorted queries to the keys that `spans` gives them; scores and softmax are float32.

    Args:
        interpret: run the kernel as plain operations, slowly, on any platform.
    """
    sizes = _Sizes(_block_size(q_BHLK.shape[2]), _block_size(k_BHMK.shape[2]))
    run = functools.partial(_attend_row, sizes=sizes, interpret=interpret)
    value, lse = _map_rows(run, _fill(q_BHLK, k_BHMK, v_BHMK, spans, sizes))
    length = q_BHLK.shape[2]
    seen = (spans.start < spans.end)[:, None]
    return AttentionOutput(
        jnp.where(seen[..., None], value[:, :, :length], 0),
        jnp.where(seen, lse[:, :, :length], MASKED),
    )


def _map_rows(run: Callable[[Any], Any], rows: Any) -> Any:
    """`run` on row after row; a single one is not copied in and out of a loop."""
    if jax.tree.leaves(rows)[0].shape[0] > 1:
        return jax.lax.map(run, rows)
    one = run(jax.tree.map(lambda x: x[0], rows))
    return jax.tree.map(lambda x: x[None], one)


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
    value, (lse,) = attend(_scaled(row.q), row.k, row.v, segment_ids=_segments(row))
    return value, lse


def _save(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans, interpret: bool) -> tuple:
    attended = attend_splash(q, k, v, spans, interpret)
    attended = AttentionOutput(*(checkpoint_name(x, ATTENDED) for x in attended))
    return attended, (q, k, v, spans, attended)


def _backward(interpret: bool, saved: tuple, gradient: AttentionOutput) -> tuple:
    q, k, v, spans, attended = saved
    sizes = _Sizes(_block_size(q.shape[2]), _block_size(k.shape[2]))
    seen = (spans.start < spans.end)[:, None]
    # d score = weight (d weight - this), from the softmax and from the log-sum-exp itself.
    mean = (attended.value.astype(FLOAT) * gradient.value.astype(FLOAT)).sum(-1) - gradient.lse
    mean = jnp.where(seen, mean, 0.0)
    lse = jnp.where(seen, attended.lse, -MASKED)  # so high that what sees nothing weighs nothing
    fill = functools.partial(_fill_up, multiple=sizes.q, axis=2)
    lse = _fill_up(lse, sizes.q, axis=2, value=-MASKED)
    rows = _fill(q, k, v, spans, sizes), lse, fill(mean), fill(gradient.value.astype(q.dtype))
    run = functools.partial(_backward_row, sizes=sizes, interpret=interpret)
    dq, dk, dv = _map_rows(run, rows)
    return dq[:, :, : q.shape[2]], dk[:, :, : k.shape[2]], dv[:, :, : k.shape[2]], None


def _backward_row(
    inputs: tuple[_Row, jax.Array, jax.Array, jax.Array], *, sizes: _Sizes, interpret: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    row, lse, mean, d_value = inputs
    given = (_scaled(row.q), row.k, row.v, _segments(row), None, lse, d_value, mean)
    shared = {
        "bq": sizes.q,
        "bkv": sizes.k,
        "is_mqa": False,
        "mask_value": kernels.DEFAULT_MASK_VALUE,
        "attn_logits_soft_cap": None,
        "mask_function": _is_before,
        "interpret": interpret,
    } | {f"{x}_layout": kernels.QKVLayout.HEAD_DIM_MINOR for x in "qkv"}
    # Two kernels and not the fused one, which keeps a gradient of the queries for every block of keys.
    _, dk, dv = kernels._splash_attention_bwd_dkv(
        *given,
        mask_info=_mask(row, sizes, over=0),
        bkv_compute=_compute_size(sizes.k),
        use_fused_bwd_kernel=False,
        **shared,
    )
    dq = kernels._splash_attention_bwd_dq(*given, mask_info=_mask(row, sizes, over=1), **shared)
    return _scaled(dq), dk, dv


attend_splash.defvjp(_save, _backward)


def _is_before(end: jax.Array, place: jax.Array) -> jax.Array:
    """The kernel's mask inside a scene; a function of the module, for the kernel is cached by it."""
    return place < end


def _mask(row: _Row, sizes: _Sizes, *, over: int) -> MaskInfo:
    """Which blocks run, and which block is at hand when one does not.

    Args:
        over: axis along which the kernel walks in its inner loop: 1 along blocks of keys, 0 along those of queries.
    """
    start, end = (x.reshape(-1, sizes.q) for x in (row.start, row.end))
    some = start < end
    first = jnp.where(some, start, jnp.iinfo(jnp.int32).max).min(1)[:, None]
    last = jnp.where(some, end, 0).max(1)[:, None]
    at = jnp.arange(row.k.shape[1] // sizes.k)[None] * sizes.k
    runs = (at < last) & (at + sizes.k > first)
    number = jnp.arange(runs.shape[over], dtype=jnp.int32)
    number = jnp.expand_dims(number, 1 - over)
    # A block that is skipped keeps the one before it at hand, or waits for the first: nothing is moved for it.
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


def _scaled(q_HLK: jax.Array) -> jax.Array:
    return q_HLK * q_HLK.shape[-1] ** -0.5


def _fill(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans, sizes: _Sizes) -> _Row:
    """Rows filled up to whole blocks with queries that see nothing and keys that nothing sees."""
    return _Row(
        q=_fill_up(q, sizes.q, axis=2),
        k=_fill_up(k, sizes.k, axis=2),
        v=_fill_up(v, sizes.k, axis=2),
        start=_fill_up(spans.start, sizes.q, axis=1),
        end=_fill_up(spans.end, sizes.q, axis=1),
        segment=_fill_up(spans.query_segment, sizes.q, axis=1),
        key_segment=_fill_up(spans.key_segment, sizes.k, axis=1, value=NO_SEGMENT),
    )


def _fill_up(x: jax.Array, multiple: int, *, axis: int, value: float = 0) -> jax.Array:
    missing = -x.shape[axis] % multiple
    widths = [(0, missing if a == axis else 0) for a in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=value) if missing else x


def _block_size(length: int) -> int:
    """Blocks of equal size, so that little of the last one is filled up."""
    blocks = -(-length // BLOCK)
    return -(-length // (blocks * LANES)) * LANES


def _compute_size(block: int) -> int:
    """Keys of a block that are computed at once."""
    return COMPUTE if block % COMPUTE == 0 else block
