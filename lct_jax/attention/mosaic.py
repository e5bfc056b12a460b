"""Softmax attention over intervals of keys as two Pallas kernels, for TPU through Mosaic.

Queries and keys are sorted, and each query sees a half-open interval of keys. A kernel computes pairs of a block of
queries and a block of keys. The pairs of which any query sees any key are listed at run time, and a kernel's grid has
as many steps as the list: what is invisible is neither read nor computed nor stepped over. Scores are masked only in
pairs that are visible in part.

As in FlashAttention-2 (arXiv 2307.08691), the forward pass has an online softmax and the backward pass recomputes
scores from the log-sum-exp. The steps of a head run one after the other on a TPU. So one kernel makes all gradients,
from scores that are computed once: five products a pair, where a kernel for queries and one for keys have seven. It
goes through the blocks of keys. Their gradients are summed in vector memory; the gradient of a block of queries is
brought from main memory while its part is computed, and written back while the next step runs.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from lct_jax.attention.blocks import LANES, block_size, fill_up, scale_queries
from lct_jax.attention.chunked import ATTENDED, FLOAT, MASKED, AttentionOutput
from lct_jax.attention.mosaic_rows import join, join_rows, map_groups, part_rows
from lct_jax.attention.mosaic_steps import Sizes, find_places, read_step, run_kernel, run_parts

# The largest number of queries or keys of a block, and of keys that are computed at once.
BLOCK, COMPUTE = 1024, 512
# Contracted axes of a product: rows with rows, or as in a plain product of matrices.
WITH_ROWS, PLAIN = ((1,), (1,)), ((1,), (0,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend_mosaic(
    q_BHLK: jax.Array,
    k_BHMK: jax.Array,
    v_BHMK: jax.Array,
    start_BL: jax.Array,
    end_BL: jax.Array,
    interpret: bool | pltpu.InterpretParams,
) -> AttentionOutput:
    """Returns attention from sorted queries to the keys start..end - 1 of each; scores and softmax are float32.

    Args:
        interpret: whether the kernels run as plain operations, slowly, on any platform, or how a TPU is simulated.
    """
    sizes = _find_sizes(q_BHLK, k_BHMK)
    run = functools.partial(_attend_rows, sizes=sizes, interpret=interpret)
    arrays = _fill(q_BHLK, k_BHMK, v_BHMK, start_BL, end_BL, sizes)
    value, lse = map_groups(run, arrays, _count_blocks(*arrays[:2], sizes))
    # The kernel leaves any numbers for queries that see nothing.
    length, some = q_BHLK.shape[2], (start_BL < end_BL)[:, None]
    value = jnp.where(some[..., None], value[:, :, :length], 0)
    return AttentionOutput(value, jnp.where(some, lse[:, :, 0, :length], MASKED))


def _attend_rows(
    arrays: tuple[jax.Array, ...], *, sizes: Sizes, interpret: Any
) -> tuple[jax.Array, jax.Array]:
    rows = join(*arrays)
    heads, length, width = rows.q.shape
    at = find_places(sizes, width)
    value, lse = run_kernel(
        _forward,
        rows,
        sizes,
        "query",
        inputs=(rows.q, rows.k, rows.v, rows.bounds),
        in_specs=[at.queries, at.keys, at.keys, at.bounds],
        outputs=[_like(rows.q), jax.ShapeDtypeStruct((heads, 1, length), FLOAT)],
        out_specs=[at.queries, at.number],
        scratch=[pltpu.VMEM((sizes.q, n), FLOAT) for n in (LANES, LANES, width)],
        products=2,
        interpret=interpret,
    )
    return part_rows(value, 2, rows.count), part_rows(lse, 3, rows.count)


def _forward(
    steps: Any,
    q: Any,
    k: Any,
    v: Any,
    bounds: Any,
    value: Any,
    lse: Any,
    top: Any,
    total: Any,
    mixed: Any,
    *,
    compute: int,
) -> None:
    """Adds a block of keys to the online softmax of a block of queries; its numbers are [Q LANES], all lanes alike."""
    before, step, after = (read_step(steps, pl.program_id(1) + n) for n in (-1, 0, 1))

    @pl.when(before.query != step.query)
    def _() -> None:
        top[...] = jnp.full_like(top, MASKED)
        total[...] = jnp.zeros_like(total)
        mixed[...] = jnp.zeros_like(mixed)

    def add(here: Any, first: jax.Array, is_masked: bool) -> None:
        score = _product(q[...], k[here, :], WITH_ROWS)
        if is_masked:
            place = _number(score.shape, 1) + (step.key * k.shape[0] + first)
            start, end = (_widen(_to_column(bounds[n : n + 1, :]), compute) for n in (0, 1))
            score = jnp.where((place >= start) & (place < end), score, MASKED)
        higher = jnp.maximum(top[...], score.max(1, keepdims=True))
        # A query that has seen nothing yet gets weights of 1 here; its first key makes them vanish.
        weight = jnp.exp(score - _widen(higher, compute))
        shrink = jnp.exp(top[...] - higher)
        new = _product(weight.astype(v.dtype), v[here, :], PLAIN)
        mixed[...] = mixed[...] * _widen(shrink, v.shape[1]) + new
        total[...] = total[...] * shrink + weight.sum(1, keepdims=True)
        top[...] = higher

    run_parts(add, step.seen, k.shape[0], compute)

    @pl.when(after.query != step.query)
    def _() -> None:
        value[...] = (mixed[...] / _widen(total[...], v.shape[1])).astype(value.dtype)
        lse[...] = (top[...] + jnp.log(total[...])).T[:1]


def _save(*inputs: Any) -> tuple[AttentionOutput, tuple[jax.Array, ...]]:
    attended = AttentionOutput(*(checkpoint_name(x, ATTENDED) for x in attend_mosaic(*inputs)))
    return attended, (*inputs[:-1], *attended)


def _backward(interpret: Any, saved: tuple[jax.Array, ...], gradient: AttentionOutput) -> tuple:
    q, k, v, start_BL, end_BL, value, lse = saved
    sizes = _find_sizes(q, k)
    # The gradient of a score is weight * (gradient of the weight - mean); log-sum-exp contributes to the mean.
    mean = (value.astype(FLOAT) * gradient.value.astype(FLOAT)).sum(-1) - gradient.lse
    d_value, numbers = (
        fill_up(x, sizes.q, axis=a)
        for x, a in ((gradient.value.astype(q.dtype), 2), (jnp.stack([lse, mean], 2), 3))
    )
    run = functools.partial(_backward_rows, sizes=sizes, interpret=interpret)
    arrays = (*_fill(q, k, v, start_BL, end_BL, sizes), d_value, numbers)
    dq, dk, dv = map_groups(run, arrays, _count_blocks(*arrays[:2], sizes))
    return dq[:, :, : q.shape[2]], dk[:, :, : k.shape[2]], dv[:, :, : k.shape[2]], None, None


def _backward_rows(
    arrays: tuple[jax.Array, ...], *, sizes: Sizes, interpret: Any
) -> tuple[jax.Array, ...]:
    *arrays, d_value, numbers = arrays
    rows, width = join(*arrays), d_value.shape[-1]
    at = find_places(sizes, width)
    in_main_memory = pl.BlockSpec(memory_space=pl.ANY)
    dq = jnp.zeros(rows.q.shape, FLOAT)
    gradients = (join_rows(d_value, 2), join_rows(numbers, 3))
    dq, dk, dv = run_kernel(
        _backward_block,
        rows,
        sizes,
        "key",
        inputs=(dq, rows.q, rows.k, rows.v, rows.bounds, *gradients),
        in_specs=[
            *(in_main_memory, at.queries, at.keys, at.keys, at.bounds),
            *(at.queries, at.two_numbers),
        ],
        outputs=[_like(dq), _like(rows.k), _like(rows.v)],
        out_specs=[in_main_memory, at.keys, at.keys],
        scratch=[pltpu.VMEM((size, width), FLOAT) for size in (sizes.k,) * 2 + (sizes.q,) * 3]
        + [pltpu.SemaphoreType.DMA] * 2,
        products=5,
        interpret=interpret,
        # The gradient of the queries is added up where its zeros lie.
        input_output_aliases={1: 0},
    )
    dq = scale_queries(dq).astype(rows.q.dtype)
    return tuple(part_rows(x, 2, rows.count) for x in (dq, dk, dv))


def _backward_block(
    steps: Any,
    _: Any,
    q: Any,
    k: Any,
    v: Any,
    bounds: Any,
    d_value: Any,
    numbers: Any,
    dq: Any,
    dk: Any,
    dv: Any,
    dk_sum: Any,
    dv_sum: Any,
    dq_part: Any,
    dq_before: Any,
    dq_after: Any,
    reading: Any,
    writing: Any,
    *,
    compute: int,
) -> None:
    """Adds the part of one pair of blocks to the gradients of its queries, keys and values."""
    number = pl.program_id(1)
    before, step, after = (read_step(steps, number + n) for n in (-1, 0, 1))
    there = dq.at[pl.program_id(0), pl.ds(step.query * q.shape[0], q.shape[0])]
    read = pltpu.make_async_copy(there, dq_before, reading)
    write = pltpu.make_async_copy(dq_after, there, writing)
    # The last step's queries may be the same ones. Then they must have been written before they are read.
    is_rewritten = before.query == step.query
    pl.when(is_rewritten)(write.wait)
    read.start()
    dq_part[...] = jnp.zeros_like(dq_part)

    @pl.when(before.key != step.key)
    def _() -> None:
        dk_sum[...] = jnp.zeros_like(dk_sum)
        dv_sum[...] = jnp.zeros_like(dv_sum)

    def add(here: Any, first: jax.Array, is_masked: bool) -> None:
        weight = jnp.exp(_product(k[here, :], q[...], WITH_ROWS) - numbers[0:1, :])  # [M Q]
        if is_masked:
            place = _number(weight.shape, 0) + (step.key * k.shape[0] + first)
            seen = (place >= bounds[0:1, :]) & (place < bounds[1:2, :])
            weight = jnp.where(seen, weight, 0.0)
        dv_sum[here, :] += _product(weight.astype(d_value.dtype), d_value[...], PLAIN)
        d_weight = _product(v[here, :], d_value[...], WITH_ROWS)
        d_score = (weight * (d_weight - numbers[1:2, :])).astype(q.dtype)
        dk_sum[here, :] += _product(d_score, q[...], PLAIN)
        dq_part[...] += _product(d_score.T, k[here, :], PLAIN)

    run_parts(add, step.seen, k.shape[0], compute)

    @pl.when(after.key != step.key)
    def _() -> None:
        dk[...] = dk_sum[...].astype(dk.dtype)
        dv[...] = dv_sum[...].astype(dv.dtype)

    read.wait()
    pl.when((number > 0) & ~is_rewritten)(write.wait)
    dq_after[...] = dq_before[...] + dq_part[...]
    write.start()
    # Another core may take the next head, so nothing is left under way.
    pl.when(number == pl.num_programs(1) - 1)(write.wait)


attend_mosaic.defvjp(_save, _backward)


def _find_sizes(q_BHLK: jax.Array, k_BHMK: jax.Array) -> Sizes:
    q, k = (block_size(x.shape[2], BLOCK) for x in (q_BHLK, k_BHMK))
    return Sizes(q, k, COMPUTE if k % COMPUTE == 0 else k)


def _fill(
    q: jax.Array, k: jax.Array, v: jax.Array, start: jax.Array, end: jax.Array, sizes: Sizes
) -> tuple[jax.Array, ...]:
    """Returns q, k, v and bounds [B 2 L], padded to whole blocks with queries that see nothing and keys that nothing
    sees."""
    return (
        fill_up(scale_queries(q), sizes.q, axis=2),
        fill_up(k, sizes.k, axis=2),
        fill_up(v, sizes.k, axis=2),
        fill_up(jnp.stack([start, end], axis=1), sizes.q, axis=2),
    )


def _count_blocks(q_BHLK: jax.Array, k_BHMK: jax.Array, sizes: Sizes) -> tuple[int, int]:
    """Returns the blocks of queries and of keys in a row that is padded to whole ones."""
    return q_BHLK.shape[2] // sizes.q, k_BHMK.shape[2] // sizes.k


def _product(one: jax.Array, other: jax.Array, contracted: Any) -> jax.Array:
    dimensions = (contracted, ((), ()))
    return jax.lax.dot_general(one, other, dimensions, preferred_element_type=FLOAT)


def _number(shape: tuple[int, ...], axis: int) -> jax.Array:
    return jax.lax.broadcasted_iota(jnp.int32, shape, axis)


def _to_column(row_1Q: jax.Array) -> jax.Array:
    """Returns [Q LANES], all lanes alike, of [1 Q]."""
    return jnp.broadcast_to(row_1Q, (LANES, row_1Q.shape[1])).T


def _widen(column: jax.Array, width: int) -> jax.Array:
    """Returns [Q width] of [Q LANES], all lanes alike."""
    return jnp.tile(column, (1, -(-width // LANES)))[:, :width]


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
