"""Computes causal 3x3x3 convolutions with fewer products, by minimal filtering along time (Winograd 1980).

Direct convolution of m consecutive frames with three taps needs 3m products of a frame and a tap. Here m + 2 products
suffice: those of sums of frames with sums of taps, which are then added up into the m results (Lavin and Gray 2015,
arXiv 1509.09308, F(2,3) and F(4,3); there over rows and columns, here over time, so that each product stays a whole 2D
convolution). Four frames take 6 in place of 12.

In float32 this changes results by about 3e-6 of the largest. In bfloat16 the sums of frames would be rounded, so the
direct convolution is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class _Transform(NamedTuple):
    """Holds rows of coefficients: of frames and of taps for each product, and of products for each result."""

    frames: tuple[tuple[float, ...], ...]
    taps: tuple[tuple[float, ...], ...]
    results: tuple[tuple[float, ...], ...]


_TRANSFORMS = {
    4: _Transform(
        frames=(
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        taps=(
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        results=(
            (1, 1, 1, 1, 1, 0),
            (0, 1, -1, 2, -2, 0),
            (0, 1, 1, 4, 4, 0),
            (0, 1, -1, 8, -8, 1),
        ),
    ),
    2: _Transform(
        frames=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        taps=((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        results=((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
}

ConvolveFrames = Callable[[jax.Array, jax.Array], jax.Array]


def convolve_by_fewer_products(
    x_BTXYc: jax.Array, kernel: jax.Array, convolve_frames: ConvolveFrames
) -> tuple[jax.Array, int]:
    """Convolves frames in groups of four, then a remaining pair, without padding in time.

    Args:
        x_BTXYc: [B, T, X, Y, c]. kernel: [3, x, y, c, d].
        convolve_frames: convolves frames [B, t, X, Y, c] with one tap [x, y, c, d], each frame on its own.

    Returns:
        The first of the T - 2 results, [B, t, X, Y, d], and their number t: all, or all but the last.
    """
    frames, parts, start = x_BTXYc.shape[1] - 2, [], 0
    for size, transform in _TRANSFORMS.items():
        groups = (frames - start) // size
        if groups:
            stop = start + size * groups
            parts.append(_filter(x_BTXYc[:, start : stop + 2], kernel, transform, convolve_frames))
            start = stop
    return jnp.concatenate(parts, axis=1), start


def _filter(
    x_BTXYc: jax.Array, kernel: jax.Array, transform: _Transform, convolve_frames: ConvolveFrames
) -> jax.Array:
    size = len(transform.results)
    last = x_BTXYc.shape[1] - 2 - size + 1
    # These are the first frame of every group, the second of every group, and so on, each [B, groups, X, Y, c].
    slices = [x_BTXYc[:, place : place + last : size] for place in range(size + 2)]
    products = [
        convolve_frames(_add_up(frames, slices), _add_up(taps, kernel))
        for frames, taps in zip(transform.frames, transform.taps, strict=True)
    ]
    results = jnp.stack([_add_up(row, products) for row in transform.results], axis=2)
    return results.reshape(x_BTXYc.shape[0], -1, *results.shape[3:])


def _add_up(coefficients: Sequence[float], terms: Sequence[jax.Array] | jax.Array) -> jax.Array:
    parts = [c * terms[i] for i, c in enumerate(coefficients) if c]
    return sum(parts[1:], start=parts[0])
