"""What the kernels of `mosaic.py` share: the list of their steps, the blocks that a step takes, and how they are run.

A step is a pair of a block of queries and a block of keys of which any query sees any key. The pairs of a row are
listed at run time, and the grid of a kernel has as many steps as the list: what is invisible is neither read nor
computed nor stepped over. The list lies in scalar memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from lct_jax.attention.mosaic_rows import Rows

# What any query of a block of queries sees of a block of keys.
NOTHING, PART, WHOLE = 0, 1, 2
# A step is one number, in whose lowest bits is what is seen, above it the block of keys, then the block of queries.
SEEN_BITS, KEY_BITS = 2, 15
END = jnp.iinfo(jnp.int32).max
# Vector memory that a kernel may use. The smallest of the four chips (v5p, TPU7x) has 64 MiB a core.
VECTOR_MEMORY = 48 * 2**20


class Sizes(NamedTuple):
    """Queries of a block, keys of a block, and keys that are computed at once."""

    q: int
    k: int
    compute: int


class Step(NamedTuple):
    """One step of a kernel: a block of queries, a block of keys, and what is seen."""

    query: jax.Array
    key: jax.Array
    seen: jax.Array


def read_step(steps: Any, number: jax.Array | int) -> Step:
    """Returns a step of the list; the ones before the first and behind the last are of blocks that do not exist."""
    code = steps[number + 1]
    key = (code >> SEEN_BITS) & (2**KEY_BITS - 1)
    return Step(code >> (SEEN_BITS + KEY_BITS), key, code & (2**SEEN_BITS - 1))


def list_steps(
    bounds: jax.Array, sizes: Sizes, keys: int, outer: Literal["query", "key"], rows: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Returns the steps of a kernel, with `END` before and behind them, and how many there are.

    Every block of `outer`, which is the slower one to change, has a step, so that its results are written.

    Args:
        bounds: as in `Rows`. keys: of all rows.
    """
    start, end = bounds.reshape(2, rows, -1, sizes.q)
    some = start < end
    first = jnp.where(some, start, END).min(2)[..., None]
    last = jnp.where(some, end, 0).max(2)[..., None]
    shape = (*start.shape[:2], keys // rows // sizes.k)
    row, query, key = jnp.indices(shape, dtype=jnp.int32)
    # Blocks are numbered through all rows.
    query_block, key_block = row * shape[1] + query, row * shape[2] + key
    at = key_block * sizes.k
    runs = (at < last) & (at + sizes.k > first)
    is_whole = (at >= start.max(2)[..., None]) & (at + sizes.k <= end.min(2)[..., None])
    seen = jnp.where(runs, jnp.where(is_whole, WHOLE, PART), NOTHING)
    axis, inner = (2, key) if outer == "query" else (1, query)
    listed = runs | (~runs.any(axis, keepdims=True) & (inner == 0))
    code = (query_block << (SEEN_BITS + KEY_BITS)) | (key_block << SEEN_BITS) | seen
    # Sorting by this puts the steps into their order, and what is no step behind them.
    place = query_block * shape[2] + key if outer == "query" else key_block * shape[1] + query
    order = jnp.where(listed, place, END)
    order, code = jax.lax.sort((order.ravel(), jnp.where(listed, code, END).ravel()), num_keys=1)
    return jnp.pad(code, 1, constant_values=END), listed.sum(dtype=jnp.int32)


def run_parts(
    add: Callable[[Any, jax.Array, bool], None], seen: jax.Array, keys: int, compute: int
) -> None:
    """Calls `add` for part after part of a block of keys.

    Args:
        add: takes the slice of a part within its block, the number of its first key there, and whether scores are
            masked.
        seen: what is seen of the block.
        keys, compute: keys of a block and of a part.
    """
    for what in (WHOLE, PART):

        def run(part: jax.Array, _: None, what: int = what) -> None:
            first = pl.multiple_of(part * compute, compute)
            add(pl.ds(first, compute), first, what == PART)

        @pl.when(seen == what)
        def _(run: Callable = run) -> None:
            jax.lax.fori_loop(0, keys // compute, run, None)


class Places(NamedTuple):
    """The blocks of arrays that a step takes.

    Attributes:
        queries, keys: of [H R*L K] and [H R*M K]. number, two_numbers: of [H 1 R*L] and [H 2 R*L].
        bounds: of [2 R*L].
    """

    queries: pl.BlockSpec
    keys: pl.BlockSpec
    number: pl.BlockSpec
    two_numbers: pl.BlockSpec
    bounds: pl.BlockSpec


def find_places(sizes: Sizes, width: int) -> Places:
    query = lambda s, steps: read_step(steps, s).query
    key = lambda s, steps: read_step(steps, s).key
    numbers = lambda count: pl.BlockSpec(
        (None, count, sizes.q), lambda h, s, steps: (h, 0, query(s, steps))
    )
    return Places(
        pl.BlockSpec((None, sizes.q, width), lambda h, s, steps: (h, query(s, steps), 0)),
        pl.BlockSpec((None, sizes.k, width), lambda h, s, steps: (h, key(s, steps), 0)),
        numbers(1),
        numbers(2),
        pl.BlockSpec((2, sizes.q), lambda h, s, steps: (0, query(s, steps))),
    )


def run_kernel(
    kernel: Callable[..., None],
    rows: Rows,
    sizes: Sizes,
    outer: Literal["query", "key"],
    *,
    inputs: tuple[jax.Array, ...],
    in_specs: list[pl.BlockSpec],
    outputs: list[jax.ShapeDtypeStruct],
    out_specs: list[pl.BlockSpec],
    scratch: list[Any],
    products: int,
    **options: Any,
) -> list[jax.Array]:
    """Runs a kernel over all heads and steps. `products` is its number of matrix products for a pair."""
    heads, length, width = rows.q.shape
    keys = rows.k.shape[1]
    steps, count = list_steps(rows.bounds, sizes, keys, outer, rows.count)
    pairs = heads * length * keys // rows.count
    return pl.pallas_call(
        functools.partial(kernel, compute=sizes.compute),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(heads, count),
            in_specs=in_specs,
            out_specs=out_specs,
            scratch_shapes=scratch,
        ),
        out_shape=outputs,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VECTOR_MEMORY
        ),
        # An upper bound, as if all pairs were visible; the compiler hides collectives behind what takes long.
        cost_estimate=pl.CostEstimate(
            flops=2 * products * pairs * width,
            transcendentals=pairs,
            bytes_accessed=sum(x.nbytes for x in inputs),
        ),
        name=f"mosaic{kernel.__name__}",
        **options,
    )(steps, *inputs)
