"""The arrays of a cache: where tokens are written, how they are gathered, and which slots are never read."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from causal_scene import TIMES, make_request, make_sampling_scene
from scenes import TINY

from lct_jax.attention import chunked
from lct_jax.attention.cache import attend_history, gather, make_cache, quantise, read, store
from lct_jax.attention.chunked import attend_chunked
from lct_jax.attention.rope import make_rotation, rotate
from lct_jax.backbones.denoiser import Denoiser
from lct_jax.backbones.protocol import Network
from lct_jax.backbones.registry import build_abstract, describe
from lct_jax.sampling.euler import make_loop_inputs, run_steps
from lct_jax.sampling.window import pack_group
from lct_jax.types import History, KeyValues, TokenIndex

SHAPE = (TINY.backbone.depth, 2, TINY.backbone.heads, 3, TINY.backbone.head_dim)  # N B H L K


def draw(seed: int, shape=SHAPE) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def make_index(entry: int) -> TokenIndex:
    fill = lambda value: np.full((2, 3), value, np.int32)
    return TokenIndex(fill(1), fill(entry), fill(0), np.full((2, 3, 3), 7, np.int32))


def test_int8_rounding_error_is_half_a_step():
    x = draw(0) * 10.0 ** np.arange(-8, 8)[None, None, None, None]
    kept = quantise(x)
    assert kept.value.dtype == jnp.int8
    np.testing.assert_array_equal(kept.scale.shape, (*SHAPE[:-1], 1))
    assert (np.abs(read(kept, "float32") - x) <= 0.5001 * kept.scale).all()
    np.testing.assert_array_equal(read(quantise(jnp.zeros((1, 4))), "float32"), 0.0)


@pytest.mark.parametrize("kept_as", ["model", "int8"])
def test_cached_tokens_are_stored_in_slots_and_gathered_rotated(kept_as):
    cache = make_cache(describe(TINY).cache, rows=2, capacity=5, kept_as=kept_as)
    place = np.array([[1, 4, 5], [0, 2, 3]])  # the last token of the first row is padding
    seen = KeyValues(draw(1), draw(2))
    cache = store(cache, seen, make_index(3), place)
    np.testing.assert_array_equal(cache.index.shot, [[0, 3, 0, 0, 3], [3, 0, 3, 3, 0]])
    np.testing.assert_array_equal(cache.index.scene, [[0, 1, 0, 0, 1], [1, 0, 1, 1, 0]])
    slots, coord = np.array([[4, 1], [2, 3]]), np.arange(12).reshape(2, 2, 3)
    count = np.array([2, 2])
    take = lambda order, rows: gather(
        *(cache.k, cache.v, slots[order], coord[order], count[order]),
        rows=rows,
        spec=describe(TINY).cache,
    )
    history = take([0, 1], (0, 1))
    tokens = np.array([[1, 0], [1, 2]])[None, :, None, :, None]  # that stood in these slots
    k, v = (np.take_along_axis(np.asarray(x), tokens, axis=3) for x in seen)
    rotation = make_rotation(
        jnp.asarray(coord), split=TINY.backbone.rope_split, base=TINY.backbone.rope_base
    )
    turned = jax.vmap(lambda x: rotate(x, rotation))(jnp.asarray(k))
    tolerance = {"model": 1e-6, "int8": 0.05}[kept_as]
    np.testing.assert_allclose(read(history.k, "float32"), turned, atol=tolerance)
    np.testing.assert_allclose(read(history.v, "float32"), v, atol=tolerance)
    # A row of the cache may be taken more than once.
    for one, other in zip(
        jax.tree.leaves(take([1, 0, 1], (1, 0, 1))), jax.tree.leaves(history), strict=True
    ):
        axis = 0 if one.ndim == 1 else 1
        np.testing.assert_array_equal(one, np.take(other, [1, 0, 1], axis=axis))


@pytest.mark.parametrize("kept_as", ["model", "int8"])
def test_cache_slots_beyond_the_count_are_not_read(kept_as, monkeypatch):
    """Blocks have four slots and rows use 3 and 6 of 12, so the third block is not read; NaN would spread from it."""
    monkeypatch.setattr(chunked, "KEY_BLOCK", 4)
    shape = (2, 2, 2, 12, 8)
    k, v = draw(3, shape), draw(4, shape)
    q = draw(5, (2, 2, 5, 8))
    start, count = np.zeros((2, 5), np.int32), np.array([3, 6])
    expected = attend_chunked(q, k[1], v[1], start, np.repeat(count[:, None], 5, axis=1))
    if kept_as == "int8":
        k, v = quantise(k), quantise(v)
    poison = lambda x: x if x.dtype == jnp.int8 else x.at[:, :, :, 8:].set(jnp.nan)
    k, v = jax.tree.map(poison, (k, v))
    found = attend_history(q, History(k, v, jnp.asarray(count)), jnp.int32(1))
    tolerance = {"model": 1e-6, "int8": 0.05}[kept_as]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_an_empty_history_does_not_change_attention():
    history = History(draw(6), draw(7), jnp.zeros(2, jnp.int32))
    found = attend_history(
        draw(8, (2, TINY.backbone.heads, 4, TINY.backbone.head_dim)), history, jnp.int32(0)
    )
    np.testing.assert_array_equal(found.value, 0.0)
    np.testing.assert_array_equal(found.lse, np.float32(chunked.MASKED))


@pytest.mark.parametrize("kept_as", ["model", "int8"])
def test_an_euler_step_does_not_copy_the_history(kept_as):
    """The compiled loop makes no array as long as the history: the history is passed on, and sliced into blocks."""
    length = 4096
    graph, params = build_abstract(TINY)
    served = Denoiser(Network(graph, params), spec=describe(TINY), context="causal")
    shape = jax.ShapeDtypeStruct(
        (TINY.backbone.depth, 2, TINY.backbone.heads, length, TINY.backbone.head_dim), jnp.float32
    )
    kept = jax.eval_shape(quantise, shape) if kept_as == "int8" else shape
    history = History(kept, kept, jax.ShapeDtypeStruct((2,), jnp.int32))
    scene = make_sampling_scene(make_request(1))
    batch = pack_group(scene, (0,), 1, scene.draw_noise(0))
    guidance = np.full((len(TIMES) - 1, 1), np.float32(2.0))
    inputs = make_loop_inputs(batch, held={}, times=TIMES, guidance=guidance)
    noisy = jax.ShapeDtypeStruct(batch.video.value[0].shape, jnp.float32)
    step = np.int32(0)
    text = run_steps.lower(served.denoise(history), inputs, noisy, step, step).compile().as_text()
    made = re.findall(rf"= \w+\[[\d,]*{length}[\d,]*\]\S* ([\w-]+)\(", text)
    assert set(made) <= {"parameter", "get-tuple-element"}
    assert len(made) > 2
