"""A cache that is sharded over heads on eight devices gives the velocities of one device."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from causal_scene import (
    CONFIG,
    compare_with_full_pass,
    draw_clean,
    make_cache,
    make_denoiser,
    make_request,
    make_sampling_scene,
)
from scenes import TINY

from lct_jax.config.network import change
from lct_jax.distributed.sharding import make_mesh
from lct_jax.sampling.schedule import plan_causal

FOUR_HEADS = change(TINY, heads=4)


@pytest.mark.slow
def test_cache_sharded_over_heads_equals_one_device():
    scene = make_sampling_scene(make_request(2, given=(0,)))
    plan, model = plan_causal(scene.request, CONFIG), make_denoiser(FOUR_HEADS)
    alone = compare_with_full_pass(scene, plan, model, atol=1e-5)
    with jax.set_mesh(make_mesh(seq=4)):
        cache = make_cache(scene, plan, draw_clean(scene.request), model)
        history = cache.gather(1)
        spread = compare_with_full_pass(scene, plan, model, atol=1e-5)
    for shot, velocity in alone.items():
        np.testing.assert_allclose(spread[shot], velocity, atol=1e-5)
    slots = {256: (cache._cache.k, cache._cache.v), 512: (history.k, history.v)}
    for count, kept in ((count, kept) for count, pair in slots.items() for kept in pair):
        assert len(kept.sharding.device_set) == 8
        assert kept.addressable_shards[0].data.shape == (2, 1, 1, count, 16)  # 2 rows and 4 heads
