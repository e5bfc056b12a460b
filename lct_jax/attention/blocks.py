"""Rows cut into equal blocks, as the kernels for TPU take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Lanes of a vector unit; the sizes of blocks are multiples of it.
LANES = 128


def map_rows(run: Callable[[Any], Any], rows: Any) -> Any:
    """Applies `run` to row after row; a batch of one row is not copied in and out of a loop."""
    if jax.tree.leaves(rows)[0].shape[0] > 1:
        return jax.lax.map(run, rows)
    one = run(jax.tree.map(lambda x: x[0], rows))
    return jax.tree.map(lambda x: x[None], one)


def block_size(length: int, most: int) -> int:
    """Returns the size of equal blocks of a length, at most `most`, of which little is padding."""
    blocks = -(-length // most)
    return -(-length // (blocks * LANES)) * LANES


def fill_up(x: jax.Array, multiple: int, *, axis: int, value: float = 0) -> jax.Array:
    """Returns x padded with `value` to a multiple of a size along an axis."""
    missing = -x.shape[axis] % multiple
    widths = [(0, missing if a == axis else 0) for a in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=value) if missing else x


def scale_queries(q_HLK: jax.Array) -> jax.Array:
    """Returns queries whose products with keys are scores; a gradient of scaled queries is scaled alike."""
    return q_HLK * q_HLK.shape[-1] ** -0.5
