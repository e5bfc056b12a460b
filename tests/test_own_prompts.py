"""With `layout.prompts="own"` only a shot itself sees its prompt, in training and with a cache.

`test_model.py` compares the packed forward pass with the dense reference; here are gradient, mesh and cache.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from causal_scene import (
    CONFIG,
    OUT_OF_ORDER,
    TIMES,
    compare_with_full_pass,
    compare_with_plain_pass,
    draw_clean,
    make_cache,
    make_denoiser,
    make_request,
    make_sampling_scene,
    sample,
)
from gradient import check_against_dense, check_same, compile_gradient
from scenes import TINY, TinyModel, make_scenes, pack_scenes
from uncached_pass import UncachedPass

from lct_jax.config import TrainingConfig
from lct_jax.config.network import change
from lct_jax.distributed.sharding import place_batch, state_sharding
from lct_jax.sampling.cache_slots import history_capacity
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.schedule import plan_causal

OWN = change(TINY, prompts="own", kernel="chunked")


@pytest.fixture(scope="module")
def own() -> TinyModel:
    return TinyModel(OWN)


def make_rows() -> list:
    scenes = make_scenes(1, config=OWN)
    return [[scenes["trio"], scenes["full_text"]], [scenes["single"], scenes["pair"]], [], []]


def compute_gradient(model: TinyModel):
    return compile_gradient(model, TrainingConfig(steps=10, warmup=1))


def test_another_shots_own_prompt_acts_only_through_its_video(own):
    """The model has one block; another shot's prompt could act only through that shot's video, one block later."""
    shallow = TinyModel(change(OWN, depth=1))
    scene = make_scenes(config=OWN)["trio"]
    prompts = list(scene.prompts)
    prompts[2] = prompts[2] + 1.0
    rows = [[scene], [dataclasses.replace(scene, prompts=tuple(prompts))]]
    for model, reaches in ((shallow, False), (own, True)):
        before, after = model.forward(pack_scenes(rows, config=model.config))
        first = slice(1, 1 + scene.plan.shots[0].video)
        assert (np.abs(before[first] - after[first]).max() > 1e-3) == reaches
        second = slice(first.stop, first.stop + scene.plan.shots[1].video)
        assert np.abs(before[second] - after[second]).max() > 1e-3


@pytest.mark.slow
def test_the_gradient_is_that_of_the_dense_reference(own):
    packed = pack_scenes(make_rows(), config=OWN)
    found = compute_gradient(own)(own.params, packed.batch, packed.added)
    check_against_dense(found[:2], own, [scene for row in make_rows() for scene in row], OWN)


@pytest.mark.slow
def test_eight_devices_give_the_same_gradient(own, mesh):
    packed = pack_scenes(make_rows(), config=OWN)
    expected = compute_gradient(own)(own.params, packed.batch, packed.added)
    with jax.set_mesh(mesh):
        params = jax.device_put(own.params, state_sharding(own.params, mesh))
        spread = compute_gradient(own)(params, place_batch(packed.batch, mesh), packed.added)
    check_same(spread[:2], expected[:2])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({"given": (0,)}, id="given", marks=pytest.mark.slow),
        pytest.param({"bare": True}, id="bare"),
    ],
)
def test_cached_velocity_equals_full_causal_pass(case):
    scene = make_sampling_scene(make_request(4, **case), network=OWN)
    compare_with_full_pass(scene, plan_causal(scene.request, CONFIG), make_denoiser(OWN), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kept_as", ["model", "int8"])
def test_cached_scene_equals_uncached(kept_as):
    scene = make_sampling_scene(
        make_request(4), dataclasses.replace(CONFIG, kv_dtype=kept_as), network=OWN
    )
    cached, uncached = (
        kind(make_denoiser(OWN), scene, OUT_OF_ORDER, TIMES) for kind in (CachedPass, UncachedPass)
    )
    expected = sample(uncached, scene, OUT_OF_ORDER)
    for shot, tokens in sample(cached, scene, OUT_OF_ORDER).items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)


def test_cached_windows_out_of_order_equal_plain_reference():
    compare_with_plain_pass(
        make_sampling_scene(make_request(4), network=OWN),
        OUT_OF_ORDER,
        make_denoiser(OWN),
        network=OWN,
    )


def test_own_prompts_take_no_cache_slots():
    request = make_request(60, alike=True)
    config = dataclasses.replace(CONFIG, window=60, history_shots=59)
    plan = plan_causal(request, config)
    sizes = [
        history_capacity(make_sampling_scene(request, network=network), plan)
        for network in (TINY, OWN)
    ]
    # The global prompt of 8 + 1 tokens is followed by 59 shots of 6 tokens, with or without spans of 6. Capacities are
    # multiples of 256.
    assert sizes == [768, 512]
    cache = make_cache(
        make_sampling_scene(request, network=OWN), plan[:2], draw_clean(request), make_denoiser(OWN)
    )
    held = cache._cache.index.shot[0][cache._cache.index.scene[0] != 0]
    assert np.bincount(held).tolist() == [len(request.prompt.text) + 1, 6, 6]
