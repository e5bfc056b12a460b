"""Attention on a mesh: shards of tokens become shards of heads and back (DeepSpeed-Ulysses, arXiv 2309.14509).

Queries, keys and values are sharded over tokens. One all-to-all for each gives every device whole rows of its heads,
the kernel runs on those, and one more all-to-all shards its values over tokens again: nothing is gathered. A whole row
is ordered by device, and within a device by text, then video. `join` puts tokens into this order from the start, so
that the permutation that sorts them for the kernel is the only one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from lct_jax.attention.chunked import AttentionOutput
from lct_jax.attention.mask import KeySpans
from lct_jax.distributed.sharding import count_shards, letters_to_spec

Kernel = Callable[[jax.Array, jax.Array, jax.Array, KeySpans], AttentionOutput]
# Axes of "BHLK".
HEADS, TOKENS = 1, 2


class Streams(NamedTuple):
    """A pair of values, one for the text stream and one for the video stream."""

    text: jax.Array
    video: jax.Array


def join(streams: Streams, *, axis: int) -> jax.Array:
    """Returns text and video tokens as one axis, in the order in which `attend` takes them.

    These are the first device's text and video, then the second one's; on one device they are all text, then all video.
    """
    parts = count_shards("L")
    split = [_cut(x, parts, axis) for x in streams]
    return _glue(jnp.concatenate(split, axis=axis + 1), axis)


def part(x: jax.Array, *, text: int, axis: int) -> Streams:
    """Returns the inverse of `join`; `text` is the length of the text stream."""
    parts = count_shards("L")
    halves = jnp.split(_cut(x, parts, axis), [text // parts], axis=axis + 1)
    return Streams(*(_glue(half, axis) for half in halves))


def attend_spread(
    kernel: Kernel, q_BHLK: jax.Array, k_BHMK: jax.Array, v_BHMK: jax.Array, spans: KeySpans
) -> AttentionOutput:
    """Returns what `kernel` does, rows sharded over `data` and tokens over `seq`; without a mesh, on one device."""
    if jax.sharding.get_abstract_mesh().empty:
        return kernel(q_BHLK, k_BHMK, v_BHMK, spans)
    tokens = letters_to_spec("BHLK")

    def run(q: jax.Array, k: jax.Array, v: jax.Array, spans: KeySpans) -> AttentionOutput:
        attended = kernel(*(_exchange(x, HEADS, TOKENS) for x in (q, k, v)), spans)
        return AttentionOutput(*(_exchange(x, TOKENS, HEADS) for x in attended))

    return jax.shard_map(
        run,
        in_specs=(tokens, tokens, tokens, P("data")),
        out_specs=AttentionOutput(tokens, letters_to_spec("BHL")),
        # Kernels do not say over which axes their results vary.
        check_vma=False,
    )(q_BHLK, k_BHMK, v_BHMK, spans)


def _exchange(x: jax.Array, split: int, concat: int) -> jax.Array:
    return jax.lax.all_to_all(x, "seq", split_axis=split, concat_axis=concat, tiled=True)


def _cut(x: jax.Array, parts: int, axis: int) -> jax.Array:
    return x.reshape(*x.shape[:axis], parts, -1, *x.shape[axis + 1 :])


def _glue(x: jax.Array, axis: int) -> jax.Array:
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
