"""Softmax attention over intervals of keys in chunks, with memory linear in length, for CPU and any other platform.

Queries and keys are sorted, and each query sees a half-open interval of keys; what a block of queries cannot see is
neither read nor computed. The bounds are run-time values, common to the rows of a batch, so packing and history may
change without a new program. The online softmax is that of Milakov and Gimelshein 2018 (arXiv 1805.02867); its backward
pass recomputes scores from the log-sum-exp (FlashAttention-2, arXiv 2307.08691, section 3.1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

# This is finite, so that a query that sees nothing has finite gradients.
MASKED = -1e30
# The largest blocks. Scores of eight heads then stay in a megabyte of cache, which on CPU is 12% faster than blocks of
# twice the queries or twice the keys.
QUERY_BLOCK, KEY_BLOCK = 128, 256
FLOAT = jnp.float32
# Recomputation policies know the output of a kernel under this name.
ATTENDED = "attended"

Fetch = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class AttentionOutput(NamedTuple):
    """The result of attention.

    Attributes:
        value: [B H L K], weighted values in the dtype of q; zeros for a query that sees nothing.
        lse: float32[B H L], log-sum-exp of the scores; `MASKED` for a query that sees nothing.
    """

    value: jax.Array
    lse: jax.Array


class _Block(NamedTuple):
    """One block of queries.

    Attributes:
        start, end: [B Q], the interval of keys that each query sees.
        first, last: the key blocks first..last - 1 are those that any of the queries sees.
    """

    start: jax.Array
    end: jax.Array
    first: jax.Array
    last: jax.Array


def merge(one: AttentionOutput, other: AttentionOutput) -> AttentionOutput:
    """Returns the attention of queries over two disjoint sets of keys, from the attention over each set."""
    top = jnp.maximum(one.lse, other.lse)
    weight, other_weight = jnp.exp(one.lse - top), jnp.exp(other.lse - top)
    total = weight + other_weight
    share = lambda part, w: part.value.astype(FLOAT) * (w / total)[..., None]
    value = share(one, weight) + share(other, other_weight)
    return AttentionOutput(value.astype(one.value.dtype), top + jnp.log(total))


@jax.custom_vjp
def attend_chunked(
    q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, start_BL: jax.Array, end_BL: jax.Array
) -> AttentionOutput:
    """Returns attention from sorted queries to the keys start..end - 1 of each; scores and softmax are float32."""
    size = _block_sizes(q_BHLK, k_BHMK)[1]
    padded = tuple(_pad(x, size, axis=2) for x in (k_BHMK, v_BHMK))
    fetch = lambda number: tuple(
        jax.lax.dynamic_slice_in_dim(x, number * size, size, 2) for x in padded
    )
    return attend_blocks(q_BHLK, fetch, start_BL, end_BL, size=size)


def attend_blocks(
    q_BHLK: jax.Array, fetch: Fetch, start_BL: jax.Array, end_BL: jax.Array, *, size: int
) -> AttentionOutput:
    """Returns what `attend_chunked` does, without a gradient, over keys and values that are fetched block by block.

    Args:
        fetch: returns keys and values [B H size K] from the number of a block. It is called only for blocks that a
            block of queries sees.
        size: keys of a block.
    """
    q_block = _block_sizes(q_BHLK, q_BHLK)[0]
    blocks = _split_intervals(start_BL, end_BL, q_block, size)
    run = functools.partial(_attend_block, fetch, size)
    value, lse = jax.lax.map(run, (_split(q_BHLK, q_block), blocks))
    return AttentionOutput(*(_join(x, q_BHLK.shape[2]) for x in (value, lse)))


def _attend_block(fetch: Fetch, size: int, inputs: tuple[jax.Array, _Block]) -> AttentionOutput:
    q_BHQK, block = inputs

    def add(number: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        mixed, total, top = carry
        k, v = fetch(number)
        score, seen = _score(q_BHQK, k, block, number * size)
        higher = jnp.maximum(top, jnp.where(seen, score, MASKED).max(-1))
        weight = jnp.where(seen, jnp.exp(score - higher[..., None]), 0.0)
        shrink = jnp.exp(top - higher)
        new = _product("BHQM,BHMK->BHQK", weight.astype(v.dtype), v)
        return mixed * shrink[..., None] + new, total * shrink + weight.sum(-1), higher

    zero = jnp.zeros(q_BHQK.shape[:3], FLOAT)
    start = jnp.zeros(q_BHQK.shape, FLOAT), zero, zero + MASKED
    mixed, total, top = jax.lax.fori_loop(block.first, block.last, add, start)
    some = total > 0
    total = jnp.where(some, total, 1.0)
    value = (mixed / total[..., None]).astype(q_BHQK.dtype)
    return AttentionOutput(value, jnp.where(some, top + jnp.log(total), MASKED))


def _save(*inputs: jax.Array) -> tuple[AttentionOutput, tuple[jax.Array, ...]]:
    attended = AttentionOutput(*(checkpoint_name(x, ATTENDED) for x in attend_chunked(*inputs)))
    return attended, (*inputs, *attended)


def _backward(
    saved: tuple[jax.Array, ...], gradient: AttentionOutput
) -> tuple[jax.Array | None, ...]:
    q, k, v, start_BL, end_BL, value, lse = saved
    q_block, k_block = _block_sizes(q, k)
    # The gradient of a score is weight * (gradient of the weight - mean); log-sum-exp contributes to the mean.
    mean = (value.astype(FLOAT) * gradient.value.astype(FLOAT)).sum(-1) - gradient.lse
    pieces = tuple(_split(x, q_block) for x in (q, gradient.value, lse, mean))
    padded = tuple(_pad(x, k_block, axis=2) for x in (k, v))
    blocks = _split_intervals(start_BL, end_BL, q_block, k_block)
    run = functools.partial(_backward_block, padded, k_block)
    zeros = tuple(jnp.zeros(x.shape, FLOAT) for x in padded)
    (dk, dv), dq = jax.lax.scan(run, zeros, (pieces, blocks))
    dk, dv = (grad[:, :, : k.shape[2]].astype(k.dtype) for grad in (dk, dv))
    return _join(dq, q.shape[2]), dk, dv, None, None


def _backward_block(
    keys: tuple[jax.Array, jax.Array],
    size: int,
    gradients: tuple[jax.Array, jax.Array],
    inputs: tuple[tuple[jax.Array, ...], _Block],
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Adds one query block's part to the gradients of keys and values, and returns the gradient of its queries."""
    (q, d_value, lse, mean), block = inputs
    scale = q.shape[-1] ** -0.5

    def add(number: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        dq, dk, dv = carry
        at = number * size
        k, v = (jax.lax.dynamic_slice_in_dim(x, at, size, 2) for x in keys)
        score, seen = _score(q, k, block, at)
        weight = jnp.where(seen, jnp.exp(score - lse[..., None]), 0.0)
        d_weight = _product("BHQK,BHMK->BHQM", d_value, v)
        d_score = (weight * (d_weight - mean[..., None]) * scale).astype(q.dtype)
        dk = _add_at(dk, _product("BHQM,BHQK->BHMK", d_score, q), at)
        dv = _add_at(dv, _product("BHQM,BHQK->BHMK", weight.astype(v.dtype), d_value), at)
        return dq + _product("BHQM,BHMK->BHQK", d_score, k), dk, dv

    start = jnp.zeros(q.shape, FLOAT), *gradients
    dq, dk, dv = jax.lax.fori_loop(block.first, block.last, add, start)
    return (dk, dv), dq.astype(q.dtype)


attend_chunked.defvjp(_save, _backward)


def _score(
    q_BHQK: jax.Array, k_BHMK: jax.Array, block: _Block, first: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the scaled scores against the keys from `first` on, and which of them are seen, bool[B 1 Q M]."""
    place_M = first + jnp.arange(k_BHMK.shape[2])
    after, before = (x[:, None, :, None] for x in (block.start, block.end))
    seen = (place_M[None, None, None] >= after) & (place_M[None, None, None] < before)
    return _product("BHQK,BHMK->BHQM", q_BHQK, k_BHMK) * q_BHQK.shape[-1] ** -0.5, seen


def _product(equation: str, one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.einsum(equation, one, other, preferred_element_type=FLOAT)


def _add_at(total: jax.Array, part: jax.Array, first: jax.Array) -> jax.Array:
    there = jax.lax.dynamic_slice_in_dim(total, first, part.shape[2], 2)
    return jax.lax.dynamic_update_slice_in_dim(total, there + part, first, 2)


def _block_sizes(q_BHLK: jax.Array, k_BHMK: jax.Array) -> tuple[int, int]:
    """Returns the sizes of query and key blocks: blocks are equal, so that little of the last one is padding."""
    even = lambda length, most: -(-length // -(-length // most))
    return even(q_BHLK.shape[2], QUERY_BLOCK), even(k_BHMK.shape[2], KEY_BLOCK)


def _split_intervals(start_BL: jax.Array, end_BL: jax.Array, q_block: int, k_block: int) -> _Block:
    """Returns intervals by query block, with the key blocks from the first to the last that is seen in any row."""
    start, end = (_split(x[:, None], q_block)[:, :, 0] for x in (start_BL, end_BL))
    some = start < end
    first = jnp.where(some, start // k_block, jnp.iinfo(jnp.int32).max).min((1, 2))
    last = jnp.where(some, -(-end // k_block), 0).max((1, 2))
    return _Block(start, end, first, last)


def _split(x_BHL: jax.Array, block: int) -> jax.Array:
    """Returns [blocks, B H block ...] of [B H L ...]; the last block is padded with zeros."""
    x = _pad(x_BHL, block, axis=2)
    return jnp.moveaxis(x.reshape(*x.shape[:2], -1, block, *x.shape[3:]), 2, 0)


def _join(blocks: jax.Array, length: int) -> jax.Array:
    """Returns the inverse of `_split`."""
    x = jnp.moveaxis(blocks, 0, 2)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])[:, :, :length]


def _pad(x: jax.Array, multiple: int, *, axis: int) -> jax.Array:
    missing = -x.shape[axis] % multiple
    if not missing:
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, missing)
    return jnp.pad(x, widths)
