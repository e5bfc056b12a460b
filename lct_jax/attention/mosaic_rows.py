"""Several rows go through a kernel of `mosaic.py` as one, behind each other.

They see nothing of each other, so they have as many steps as apart, and none is copied into a loop and out of it. Only
where the list of steps would be too long for scalar memory are they divided into groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.attention.blocks import map_rows

# The longest list of steps: at 4 bytes a step, three quarters of the 1 MiB of scalar memory that a chip has.
MOST_STEPS = 3 * 2**16
# The most blocks of queries or of keys: a step, which is one number, has bits for no more (`mosaic_steps.py`).
MOST_BLOCKS = 2**14


class Rows(NamedTuple):
    """Rows behind each other, each padded to whole blocks.

    Attributes:
        q, k, v: [H R*L K] or [H R*M K]; queries are scaled.
        bounds: int32[2 R*L], the interval of keys of every query, empty for padding.
        count: R.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    bounds: jax.Array
    count: int


def map_groups(
    run: Callable[[Any], Any], arrays: tuple[jax.Array, ...], blocks: tuple[int, int]
) -> Any:
    """Applies `run` to as many rows at once as a list has room for.

    Args:
        arrays: rows are the first axis, of the results too.
        blocks: those of queries and of keys in one row.
    """
    together = count_together(arrays[0].shape[0], *blocks)
    groups = jax.tree.map(lambda x: x.reshape(-1, together, *x.shape[1:]), arrays)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), map_rows(run, groups))


def count_together(rows: int, queries: int, keys: int) -> int:
    """Returns how many rows of so many blocks go through a kernel as one: a divisor of them."""
    most = min(MOST_STEPS // (queries * keys), MOST_BLOCKS // max(queries, keys))
    return next((n for n in range(min(rows, most), 1, -1) if rows % n == 0), 1)


def join(q: jax.Array, k: jax.Array, v: jax.Array, bounds: jax.Array) -> Rows:
    """Returns rows [R H L K] with bounds [R 2 L] behind each other, their keys numbered through all of them."""
    count = q.shape[0]
    before = jnp.arange(count, dtype=bounds.dtype) * k.shape[2]
    q, k, v, bounds = (join_rows(x, 2) for x in (q, k, v, bounds + before[:, None, None]))
    return Rows(q, k, v, bounds, count)


def join_rows(x: jax.Array, axis: int) -> jax.Array:
    """Returns rows, which are the first axis, behind each other along an axis of tokens."""
    x = jnp.moveaxis(x, 0, axis - 1)
    return x.reshape(*x.shape[: axis - 1], -1, *x.shape[axis + 1 :])


def part_rows(x: jax.Array, axis: int, rows: int) -> jax.Array:
    """Returns the inverse of `join_rows`, `axis` being that of tokens in its result."""
    x = x.reshape(*x.shape[: axis - 1], rows, -1, *x.shape[axis:])
    return jnp.moveaxis(x, axis - 1, 0)
