"""Attention on a mesh: the order of tokens, and the numbers of one device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lct_jax.attention import blocks, mosaic
from lct_jax.attention.attend import attend
from lct_jax.attention.mask import find_spans
from lct_jax.attention.ulysses import Streams, join, part
from lct_jax.types import TokenIndex


def test_join_orders_tokens_by_device(mesh):
    streams = Streams(jnp.arange(4)[None], jnp.arange(10, 16)[None])
    np.testing.assert_array_equal(join(streams, axis=1)[0], [0, 1, 2, 3, 10, 11, 12, 13, 14, 15])
    with jax.set_mesh(mesh):
        joined = join(streams, axis=1)
        np.testing.assert_array_equal(joined[0], [0, 1, 10, 11, 12, 2, 3, 13, 14, 15])
        for found, expected in zip(part(joined, text=4, axis=1), streams, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kernel", ["chunked", pytest.param("mosaic", marks=pytest.mark.slow)])
def test_attention_on_a_mesh_equals_one_device(mesh, kernel, monkeypatch):
    """Every row has two scenes of two shots, with bounds and padding of its own."""
    monkeypatch.setattr(mosaic, "BLOCK", blocks.LANES)
    rng = np.random.default_rng(0)
    bounds = np.sort(rng.integers(1, 160, (4, 4)), axis=1)
    group = (np.arange(160)[None, :, None] >= bounds[:, None]).sum(-1)  # 0 .. 4, and 4 is padding
    scene, shot = np.where(group < 4, 1 + group // 2, 0), np.where(group < 4, group % 2, 0)
    scene, shot = (rng.permuted(x, axis=1) for x in (scene, shot))
    zero = np.zeros((4, 160), np.int32)
    index = TokenIndex(scene.astype(np.int32), shot.astype(np.int32), zero, zero[..., None])
    q, k, v, weight = (rng.normal(size=(4, 2, 160, 4)).astype(np.float32) for _ in range(4))

    def run(q, k, v):
        def loss(q, k, v):
            spans = find_spans(index, index, "causal")
            attended = attend(q, k, v, spans=spans, kernel=kernel)
            return (weight * attended.value).sum(), attended

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v)

    expected = jax.jit(run)(q, k, v)
    with jax.set_mesh(mesh):
        found = jax.jit(run)(q, k, v)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected
    )
