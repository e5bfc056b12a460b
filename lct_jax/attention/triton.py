"""Softmax attention over intervals of keys as three Pallas kernels, for GPU through Triton.

Queries and keys are sorted, and each query sees a half-open interval of keys. A program of a kernel holds one block and
loops over the blocks of the other side that it needs. The bounds of that loop are computed at run time, a few numbers
for each block of a row, so that what is invisible is neither read nor computed. As in FlashAttention-2 (arXiv
2307.08691), the forward pass has an online softmax and the backward pass recomputes scores from the log-sum-exp.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from lct_jax.attention.chunked import ATTENDED, FLOAT, MASKED, AttentionOutput

# Queries, or keys, of a block: Triton keeps tiles of this size in registers at 128 dimensions.
BLOCK = 64
# Warps of a program, and tiles that are loaded ahead.
WARPS, STAGES = 4, 2
# Sides of a matrix product in Triton are powers of two, and at least this.
SMALLEST_WIDTH = 16
NONE = jnp.iinfo(jnp.int32).max


class _Bounds(NamedTuple):
    """For each block, the blocks first..last - 1 of the other side that it needs: int32[B blocks]."""

    first: jax.Array
    last: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend_triton(
    q_BHLK: jax.Array,
    k_BHMK: jax.Array,
    v_BHMK: jax.Array,
    start_BL: jax.Array,
    end_BL: jax.Array,
    interpret: bool,
) -> AttentionOutput:
    """Returns attention from sorted queries to the keys start..end - 1 of each; scores and softmax are float32.

    Args:
        interpret: whether the kernels run as plain operations, slowly, on any platform.
    """
    q, k, v = (_fill(x) for x in (q_BHLK, k_BHMK, v_BHMK))
    intervals = [_fill_up(x, BLOCK, 1) for x in (start_BL, end_BL)]
    kernel = functools.partial(_forward, scale=q_BHLK.shape[-1] ** -0.5)
    value, lse = _call(
        kernel,
        (*_bound_keys(*intervals), *intervals, q, k, v),
        ("whole", "whole", "row", "row", "block", "all", "all"),
        (_like(q), jax.ShapeDtypeStruct(q.shape[:3], FLOAT)),
        interpret=interpret,
    )
    length, width = q_BHLK.shape[2:]
    return AttentionOutput(value[:, :, :length, :width], lse[:, :, :length])


def _forward(
    first: Any,
    last: Any,
    start: Any,
    end: Any,
    q: Any,
    k: Any,
    v: Any,
    value: Any,
    lse: Any,
    *,
    scale: float,
) -> None:
    """Computes one block of queries over the keys that it sees."""
    q_QK = q[...]

    def add(number: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        mixed, total, top = carry
        here = pl.ds(number * BLOCK, BLOCK)
        seen = _see(start[...], end[...], number)
        score = triton.dot(q_QK, k[here, :].T) * scale
        higher = jnp.maximum(top, jnp.where(seen, score, MASKED).max(1))
        weight = jnp.where(seen, jnp.exp(score - higher[:, None]), 0.0)
        shrink = jnp.exp(top - higher)
        new = triton.dot(weight.astype(v.dtype), v[here, :])
        return mixed * shrink[:, None] + new, total * shrink + weight.sum(1), higher

    zero = jnp.zeros(q_QK.shape[0], FLOAT)
    carry = jnp.zeros(q_QK.shape, FLOAT), zero, zero + MASKED
    mixed, total, top = jax.lax.fori_loop(_at(first), _at(last), add, carry)
    some = total > 0
    total = jnp.where(some, total, 1.0)
    value[...] = (mixed / total[:, None]).astype(value.dtype)
    lse[...] = jnp.where(some, top + jnp.log(total), MASKED)


def _save(*inputs: Any) -> tuple[AttentionOutput, tuple[jax.Array, ...]]:
    attended = AttentionOutput(*(checkpoint_name(x, ATTENDED) for x in attend_triton(*inputs)))
    return attended, (*inputs[:-1], *attended)


def _backward(interpret: bool, saved: tuple[jax.Array, ...], gradient: AttentionOutput) -> tuple:
    q_BHLK, k_BHMK, v_BHMK, start_BL, end_BL, value, lse = saved
    scale = q_BHLK.shape[-1] ** -0.5
    # The gradient of a score is weight * (gradient of the weight - mean); log-sum-exp contributes to the mean.
    mean = (value.astype(FLOAT) * gradient.value.astype(FLOAT)).sum(-1) - gradient.lse
    q, k, v, d_value = (_fill(x) for x in (q_BHLK, k_BHMK, v_BHMK, gradient.value))
    lse, mean = (_fill_up(x, BLOCK, 2) for x in (lse, mean))
    intervals = [_fill_up(x, BLOCK, 1) for x in (start_BL, end_BL)]
    by_query = _bound_keys(*intervals)
    by_key = _bound_queries(by_query, k.shape[2] // BLOCK)
    (dq,) = _call(
        functools.partial(_backward_queries, scale=scale),
        (*by_query, *intervals, q, k, v, d_value, lse, mean),
        ("whole", "whole", "row", "row", "block", "all", "all", "block", "block", "block"),
        (_like(q),),
        interpret=interpret,
    )
    dk, dv = _call(
        functools.partial(_backward_keys, scale=scale),
        (*by_key, *intervals, q, k, v, d_value, lse, mean),
        ("whole", "whole", "all_row", "all_row", "all", "block", "block", "all", "all", "all"),
        (_like(k), _like(v)),
        interpret=interpret,
    )
    cut = lambda grad, x: grad[:, :, : x.shape[2], : x.shape[3]]
    return cut(dq, q_BHLK), cut(dk, k_BHMK), cut(dv, v_BHMK), None, None


def _backward_queries(
    first: Any,
    last: Any,
    start: Any,
    end: Any,
    q: Any,
    k: Any,
    v: Any,
    d_value: Any,
    lse: Any,
    mean: Any,
    dq: Any,
    *,
    scale: float,
) -> None:
    """Computes the gradient of one block of queries, over the keys that it sees."""
    q_QK, d_value_QK = q[...], d_value[...]

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        here = pl.ds(number * BLOCK, BLOCK)
        weight = _weigh(q_QK, k[here, :], lse[...], _see(start[...], end[...], number), scale)
        d_score = weight * (triton.dot(d_value_QK, v[here, :].T) - mean[...][:, None])
        return total + triton.dot(d_score.astype(k.dtype), k[here, :])

    total = jax.lax.fori_loop(_at(first), _at(last), add, jnp.zeros(q_QK.shape, FLOAT))
    dq[...] = (total * scale).astype(dq.dtype)


def _backward_keys(
    first: Any,
    last: Any,
    start: Any,
    end: Any,
    q: Any,
    k: Any,
    v: Any,
    d_value: Any,
    lse: Any,
    mean: Any,
    dk: Any,
    dv: Any,
    *,
    scale: float,
) -> None:
    """Computes the gradients of one block of keys and values, over the queries that see it."""
    k_MK, v_MK, number = k[...], v[...], pl.program_id(0)

    def add(block: jax.Array, totals: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        here = pl.ds(block * BLOCK, BLOCK)
        q_QK, d_value_QK = q[here, :], d_value[here, :]
        weight = _weigh(q_QK, k_MK, lse[here], _see(start[here], end[here], number), scale)
        d_score = weight * (triton.dot(d_value_QK, v_MK.T) - mean[here][:, None])
        dk = totals[0] + triton.dot(d_score.astype(q.dtype).T, q_QK)
        return dk, totals[1] + triton.dot(weight.astype(d_value.dtype).T, d_value_QK)

    zero = jnp.zeros(k_MK.shape, FLOAT)
    total_dk, total_dv = jax.lax.fori_loop(_at(first), _at(last), add, (zero, zero))
    dk[...] = (total_dk * scale).astype(dk.dtype)
    dv[...] = total_dv.astype(dv.dtype)


attend_triton.defvjp(_save, _backward)


def _see(start_Q: jax.Array, end_Q: jax.Array, number: jax.Array) -> jax.Array:
    """Returns which keys of a block are in the interval of which query, bool[Q M]."""
    place_M = number * BLOCK + jnp.arange(BLOCK)
    return (place_M[None] >= start_Q[:, None]) & (place_M[None] < end_Q[:, None])


def _weigh(
    q_QK: jax.Array, k_MK: jax.Array, lse_Q: jax.Array, seen_QM: jax.Array, scale: float
) -> jax.Array:
    """Returns the softmax weights, from recomputed scores."""
    return jnp.where(seen_QM, jnp.exp(triton.dot(q_QK, k_MK.T) * scale - lse_Q[:, None]), 0.0)


def _at(bound: Any) -> jax.Array:
    """Returns this program's bound of its loop; the axes of the grid are block, head and row."""
    return bound[pl.program_id(2), pl.program_id(0)]


def _call(
    kernel: Any, inputs: tuple, kinds: tuple[str, ...], outputs: tuple, *, interpret: bool
) -> list[jax.Array]:
    """Runs a kernel once for every block of its first output, head and row.

    Args:
        kinds: which part of each input a program gets: its own "block"; its own block of a "row", which has no heads;
            "all" of its row and head; "all_row", all of its row, which has no heads; or the "whole" array.
    """
    rows, heads, length = outputs[0].shape[:3]

    def spec(x: Any, kind: str) -> pl.BlockSpec:
        if kind == "whole":
            return pl.BlockSpec(x.shape, lambda i, h, b: (0,) * x.ndim)
        if kind in ("row", "all_row"):
            own = kind == "row"
            shape = (None, BLOCK if own else x.shape[1])
            return pl.BlockSpec(shape, lambda i, h, b: (b, i if own else 0))
        own, tail = kind == "block", (0,) * (x.ndim - 3)
        shape = (None, None, BLOCK if own else x.shape[2], *x.shape[3:])
        return pl.BlockSpec(shape, lambda i, h, b: (b, h, i if own else 0, *tail))

    return pl.pallas_call(
        kernel,
        grid=(length // BLOCK, heads, rows),
        in_specs=[spec(x, kind) for x, kind in zip(inputs, kinds, strict=True)],
        out_specs=[spec(x, "block") for x in outputs],
        out_shape=list(outputs),
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        interpret=interpret,
    )(*inputs)


def _bound_keys(start_BL: jax.Array, end_BL: jax.Array) -> _Bounds:
    """Returns the blocks of keys that each block of queries sees."""
    start, end = (x.reshape(x.shape[0], -1, BLOCK) for x in (start_BL, end_BL))
    some = start < end
    first = jnp.where(some, start // BLOCK, NONE).min(2)
    return _Bounds(first, jnp.where(some, -(-end // BLOCK), 0).max(2))


def _bound_queries(keys: _Bounds, blocks: int) -> _Bounds:
    """Returns the blocks of queries that see each block of keys, with the few between them that do not."""
    number = jnp.arange(blocks)
    count = jax.vmap(lambda sorted_N: jnp.searchsorted(sorted_N, number, side="right"))
    reached = jax.lax.cummax(keys.last, axis=1)
    begun = jax.lax.cummin(keys.first, axis=1, reverse=True)
    return _Bounds(*(count(x).astype(jnp.int32) for x in (reached, begun)))


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _fill(x_BHLK: jax.Array) -> jax.Array:
    """Returns x padded to whole blocks, and to a width that Triton can multiply."""
    width = max(SMALLEST_WIDTH, 1 << (x_BHLK.shape[3] - 1).bit_length())
    return _fill_up(_fill_up(x_BHLK, BLOCK, 2), width, 3)


def _fill_up(x: jax.Array, multiple: int, axis: int) -> jax.Array:
    missing = -x.shape[axis] % multiple
    widths = [(0, missing if a == axis else 0) for a in range(x.ndim)]
    return jnp.pad(x, widths) if missing else x
