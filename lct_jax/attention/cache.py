"""The cache of keys and values: these functions make it, write it, gather a shot's history from it and attend to that.

Every function takes a `KVCache` and returns a new one; nothing here has a state. When a shot begins, `gather` brings
the slots of its history to the front of a fixed capacity and rotates the keys to the positions that they take in the
shot's window. In every pass after that, `attend_history` reads them block by block up to a run-time count. Keys and
values that are stored as int8 are scaled back inside a block.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.attention import chunked
from lct_jax.attention.rope import make_rotation, rotate
from lct_jax.config import KVDtype
from lct_jax.distributed.sharding import shard_heads
from lct_jax.types import CacheSpec, History, KeyValues, KVCache, Quantised, TokenIndex

# The largest int8 whose negative is an int8 too.
LARGEST = 127


def quantise(x: jax.Array) -> Quantised:
    """Returns x as int8 with a scale for every token and head; the error is at most half of max |x| / 127."""
    x = x.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(x).max(-1, keepdims=True) / LARGEST, jnp.finfo(jnp.float32).tiny)
    return Quantised(jnp.round(x / scale).astype(jnp.int8), scale)


def read(kept: jax.Array | Quantised, dtype: Any) -> jax.Array:
    """Returns stored numbers in a dtype, scaled back where they are int8."""
    if isinstance(kept, Quantised):
        return (kept.value.astype(jnp.float32) * kept.scale).astype(dtype)
    return kept.astype(dtype)


def make_cache(spec: CacheSpec, *, rows: int, capacity: int, kept_as: KVDtype) -> KVCache:
    """Returns an empty cache of `capacity` slots a row."""
    shape = (spec.layers, rows, spec.heads, capacity, spec.head_dim)
    zeros = _make_zeros(shape, spec.dtype, kept_as)
    empty = lambda *tail: np.zeros((rows, capacity, *tail), np.int32)
    index = TokenIndex(scene=empty(), shot=empty(), slot=empty(), coord=empty(3))
    return KVCache(*zeros, index)


def grow(cache: KVCache, capacity: int) -> KVCache:
    """Returns a cache with more slots, which are empty; `cache` must not be used afterwards."""
    missing = capacity - cache.index.scene.shape[1]
    leaves = [np.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) for x in cache.index]
    return KVCache(*_pad_slots((cache.k, cache.v), missing), TokenIndex(*leaves))


@functools.partial(jax.jit, static_argnums=1)
def _pad_slots(kept: Any, missing: int) -> Any:
    pad = lambda x: jnp.pad(x, [(0, 0)] * 3 + [(0, missing), (0, 0)])
    return _shard(jax.tree.map(pad, kept))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _make_zeros(shape: tuple[int, ...], dtype: str, kept_as: KVDtype) -> list[Any]:
    kinds = {
        "model": lambda: jnp.zeros(shape, dtype),
        "int8": lambda: Quantised(
            jnp.zeros(shape, jnp.int8), jnp.zeros((*shape[:-1], 1), jnp.float32)
        ),
    }
    return [_shard(kinds[kept_as]()) for _ in range(2)]


def store(cache: KVCache, kept: KeyValues, index: TokenIndex, place_BL: np.ndarray) -> KVCache:
    """Returns the cache with the tokens of a group in it.

    Args:
        cache: its arrays are donated and must not be used afterwards.
        kept: the keys and values of the group's pass.
        index: what the cache's index is to say of every token.
        place_BL: the slots; a token whose slot is the capacity or more is left out (padding).
    """
    k, v = _write((cache.k, cache.v), (kept.k, kept.v), place_BL)
    leaves = [leaf.copy() for leaf in cache.index]
    for old, new in zip(leaves, index, strict=True):
        for row, place_L in enumerate(place_BL):
            inside = place_L < old.shape[1]
            old[row, place_L[inside]] = new[row, inside]
    return KVCache(k, v, TokenIndex(*leaves))


@functools.partial(jax.jit, donate_argnums=0)
def _write(kept: Any, new: Any, place_BL: jax.Array) -> Any:
    """Writes keys and values [N B H L K] into slots, row by row."""
    new = tuple(
        quantise(x) if isinstance(old, Quantised) else x for old, x in zip(kept, new, strict=True)
    )
    put = lambda old_NHMK, x_NHLK, place_L: old_NHMK.at[:, :, place_L].set(x_NHLK, mode="drop")
    put = jax.vmap(put, in_axes=(1, 1, 0), out_axes=1)
    return _shard(jax.tree.map(lambda old, x: put(old, x, place_BL), kept, new))


@functools.partial(jax.jit, static_argnames=("rows", "spec"))
def gather(
    k: jax.Array | Quantised,
    v: jax.Array | Quantised,
    slots_BM: jax.Array,
    coord_BM3: jax.Array,
    count_B: jax.Array,
    *,
    rows: tuple[int, ...],
    spec: CacheSpec,
) -> History:
    """Returns slots of a cache as a history, gathered layer after layer, with rotated keys.

    Args:
        k, v: the arrays of the cache, which may have another number of rows than the B of the history.
        slots_BM: the slots to gather, those in use first.
        coord_BM3: the coordinates to which their keys are rotated.
        count_B: how many slots are in use.
        rows: the row of the cache that each row of the history is taken from.
        spec: the cache's layers, heads and rotary embedding.
    """
    missing = -slots_BM.shape[1] % chunked.KEY_BLOCK if slots_BM.shape[1] > chunked.KEY_BLOCK else 0
    slots_BM = jnp.pad(slots_BM, ((0, 0), (0, missing)))
    coord_BM3 = jnp.pad(coord_BM3, ((0, 0), (0, missing), (0, 0)))
    rotation = make_rotation(coord_BM3, split=spec.rope_split, base=spec.rope_base)
    take = jax.vmap(lambda x_HMK, slots_M: jnp.take(x_HMK, slots_M, axis=1))

    def gather_layer(layer: tuple[Any, Any]) -> tuple[Any, Any]:
        # Rows as they stand are not copied.
        if rows != tuple(range(len(jax.tree.leaves(layer)[0]))):
            layer = jax.tree.map(lambda x: x[np.array(rows)], layer)
        k, v = jax.tree.map(lambda x: take(x, slots_BM), layer)
        turned = rotate(read(k, spec.dtype), rotation)
        return (quantise(turned) if isinstance(k, Quantised) else turned), v

    return History(*_shard(jax.lax.map(gather_layer, (k, v))), count_B)


def attend_history(
    q_BHLK: jax.Array, history: History, layer: jax.Array
) -> chunked.AttentionOutput:
    """Returns attention of every query to the keys of one layer that are in use; it has no gradient."""
    values = jax.tree.leaves(history.k)[0]
    size = min(chunked.KEY_BLOCK, values.shape[3])

    def fetch(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        # One slice takes the layer and the block, so that the layer's keys are never copied as a whole.
        def cut(x: jax.Array) -> jax.Array:
            sizes = (1, *x.shape[1:3], size, x.shape[4])
            return jax.lax.dynamic_slice(x, (layer, 0, 0, number * size, 0), sizes)[0]

        return tuple(read(jax.tree.map(cut, x), q_BHLK.dtype) for x in (history.k, history.v))

    end_BL = jnp.broadcast_to(history.count[:, None], (q_BHLK.shape[0], q_BHLK.shape[2]))
    return chunked.attend_blocks(q_BHLK, fetch, jnp.zeros_like(end_BL), end_BL, size=size)


def _shard(tree: Any) -> Any:
    return jax.tree.map(lambda x: shard_heads(x, "NBHMK"), tree)
