"""Rotary position embedding over three axes, from token coordinates alone.

The head dimension K is split over (t, h, w) by the config's `rope_split`; in the part of an axis, of d dimensions, the
pair i < d / 2 is rotated by `coord * base ** (-2 i / d)` (RoFormer, arXiv 2104.09864). Rotation pairs dimension i with
i + K/2 ("half-split"), so the angles of the three axes are contiguous in the first half. Weights that were trained with
neighbouring pairs need only their q and k columns permuted.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Rotation(NamedTuple):
    """Cosines and sines of every token's angles, float32[B 1 L K/2], which broadcast against `x_BHLK`."""

    cos: jax.Array
    sin: jax.Array


def frequencies(split: tuple[int, int, int], base: float) -> np.ndarray:
    """Returns the radians per position, float32[3, K/2]; they are zero where a dimension belongs to another axis."""
    table = np.zeros((3, sum(split) // 2), np.float64)
    start = 0
    for axis, dims in enumerate(split):
        half = dims // 2
        table[axis, start : start + half] = base ** (-np.arange(half) * 2.0 / dims)
        start += half
    return table.astype(np.float32)


def make_rotation(coord_BL3: jax.Array, *, split: tuple[int, int, int], base: float) -> Rotation:
    """Returns the rotation of every token in float32; a forward pass computes it once.

    Args:
        coord_BL3: int32 coordinates (t, h, w).
        split: how many of the K dimensions each axis has.
        base: the frequency base.
    """
    # These are three multiply-adds, since a TPU computes a matrix product in bfloat16, which is too coarse for angles.
    table = frequencies(split, base)
    coord = coord_BL3.astype(jnp.float32)[..., None]
    angle_BLK = sum(coord[..., axis, :] * table[axis][None, None] for axis in range(3))
    angle_B1LK = angle_BLK[:, None]
    return Rotation(cos=jnp.cos(angle_B1LK), sin=jnp.sin(angle_B1LK))


def rotate(x_BHLK: jax.Array, rotation: Rotation) -> jax.Array:
    """Returns queries or keys rotated by their tokens' angles, computed in float32 and returned in the dtype of x."""
    low, high = jnp.split(x_BHLK.astype(jnp.float32), 2, axis=-1)
    cos, sin = rotation
    turned = jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
    return turned.astype(x_BHLK.dtype)
