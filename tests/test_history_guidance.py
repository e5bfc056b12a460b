"""Guidance by finished and given shots: the rows of a pass, how they become one velocity, and the same with a cache."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from causal_scene import (
    CONFIG,
    OUT_OF_ORDER,
    TIMES,
    make_denoiser,
    make_request,
    make_sampling_scene,
    sample,
)
from scenes import TINY
from test_sampling import Recorder, run, window
from test_sampling import make_request as make_plain_request
from uncached_pass import UncachedPass

from lct_jax.config.network import change
from lct_jax.distributed.sharding import make_mesh
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.guidance import (
    ALONE,
    BOTH_TEXTS,
    choose_branches,
    guide,
    scale_steps,
)
from lct_jax.sampling.passes import FullPass
from lct_jax.sampling.schedule import Window, plan_autoregressive, plan_causal

FOUR_HEADS = change(TINY, heads=4)
# The scales of text (CONFIG has 3) and history: with three rows, with two, and with one that repels.
SCALES = (2.0, 3.0, 0.0)


def guided(history: float, **fields: object) -> object:
    return dataclasses.replace(CONFIG, history_guidance=history, **fields)


def test_rows_of_a_pass():
    assert choose_branches(CONFIG, held=True, spread=1) == BOTH_TEXTS
    assert choose_branches(guided(2.0), held=False, spread=1) == BOTH_TEXTS
    assert choose_branches(guided(2.0), held=True, spread=1) == (*BOTH_TEXTS, ALONE)
    assert choose_branches(guided(2.0), held=True, spread=2) == (*BOTH_TEXTS, ALONE, ALONE)
    assert choose_branches(guided(3.0), held=True, spread=1) == (BOTH_TEXTS[0], ALONE)


def test_scales_belong_to_the_rows():
    config, times = guided(2.0, guidance_from=0.4), time_grid(4, 1.0)
    three = scale_steps(config, times, choose_branches(config, held=True, spread=2))
    np.testing.assert_array_equal(three, np.float32([[3.0, 2.0]] * 3 + [[1.0, 1.0]]))
    config = guided(3.0)
    two = scale_steps(config, times, choose_branches(config, held=True, spread=1))
    np.testing.assert_array_equal(two, np.float32([[3.0]] * 4))


def test_guidance_goes_from_row_to_row():
    rows = jnp.asarray([[[7.0]], [[4.0]], [[2.0]], [[99.0]]])  # the last one is one too many
    np.testing.assert_array_equal(guide(rows, [3.0, 2.0]), [[2.0 + 2.0 * 2.0 + 3.0 * 3.0]])


def test_the_last_row_sees_no_held_shots():
    """Held shots are padding there, with their texts, and the shot keeps its place."""
    request, recorder = make_plain_request(3, given={0: 5.0}), Recorder()
    config = dataclasses.replace(window(9), guidance=3.0, history_guidance=2.0)
    run(request, plan_autoregressive(request, config), recorder, config=config)
    first, last = recorder.calls[0], recorder.calls[-1]
    for (video, text, time_BS), others in ((first, [1]), (last, [1, 2])):
        assert len(time_BS) == len(text.value) == 3
        np.testing.assert_array_equal(video.value[2], video.value[0])
        np.testing.assert_array_equal(video.index.coord[2], video.index.coord[1])
        np.testing.assert_array_equal(text.value[2], text.value[1])
        for index in (video.index, text.index):
            held = np.isin(index.shot[2], others)
            np.testing.assert_array_equal(index.scene[2], np.where(held, 0, index.scene[1]))
            np.testing.assert_array_equal(index.shot[2], index.shot[1])


@pytest.mark.parametrize("kind", [FullPass, CachedPass])
def test_a_step_is_the_sum_of_what_text_and_history_add(kind):
    """After one step from noise, and a shot apart is what it would be in a scene of its own."""
    request, times = make_request(2, given=(0,), bare=True), np.float32([1.0, 0.0])
    plan = plan_causal(request, CONFIG)

    def take(plan: tuple[Window, ...], **fields: float) -> np.ndarray:
        scene = make_sampling_scene(request, dataclasses.replace(CONFIG, steps=1, **fields))
        model = make_denoiser()
        if kind is CachedPass:
            return sample(CachedPass(model, scene, plan, times), scene, plan)[1]
        shown = [window for window in plan if window.denoised]
        return sample(FullPass(model.forward, scene, times), scene, shown)[1]

    prompted, negative = take(plan, guidance=1.0), take(plan, guidance=0.0)
    apart = take(plan, guidance=0.0, history_guidance=0.0)
    alone = take((Window((1,), (1,)),), guidance=0.0)
    np.testing.assert_allclose(apart, alone, atol=1e-5)
    found = take(plan, guidance=3.0, history_guidance=2.0)
    expected = apart + 2.0 * (negative - apart) + 3.0 * (prompted - negative)
    np.testing.assert_allclose(found, expected, atol=5e-5)
    found = take(plan, guidance=2.0, history_guidance=2.0)
    np.testing.assert_allclose(found, apart + 2.0 * (prompted - apart), atol=5e-5)
    for one, other in ((prompted, negative), (negative, apart)):
        assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("scale", SCALES)
def test_with_a_cache_the_scene_is_that_of_full_passes(scale):
    scene = make_sampling_scene(make_request(4, given=(0, 1)), guided(scale))
    plan = plan_causal(scene.request, scene.config)
    found = sample(CachedPass(make_denoiser(), scene, plan, TIMES), scene, plan)
    shown = [window for window in plan if window.denoised]
    expected = sample(FullPass(make_denoiser().forward, scene, TIMES), scene, shown)
    assert found.keys() == expected.keys() == {2, 3}
    for shot, tokens in found.items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)


@pytest.mark.parametrize("cache", ["renoise", "reuse"])
@pytest.mark.parametrize("scale", SCALES)
def test_with_a_cache_any_plan_is_as_without(cache, scale):
    scene = make_sampling_scene(make_request(4), guided(scale, cache=cache))
    kinds = (CachedPass, UncachedPass)
    cached, uncached = (kind(make_denoiser(), scene, OUT_OF_ORDER, TIMES) for kind in kinds)
    expected = sample(uncached, scene, OUT_OF_ORDER)
    for shot, tokens in sample(cached, scene, OUT_OF_ORDER).items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)


def test_a_first_shot_is_not_guided_by_a_history():
    """It has none, so that it is the same to the last bit whatever the scale."""
    request = make_plain_request(2)
    plan = plan_autoregressive(request, window(9))
    # Rows with different texts, and those that see different shots, have different velocities.
    answer = lambda video, text, time_BS: (
        jnp.sin(video.value)
        * (text.value.mean((1, 2)) + (video.index.scene == 0).sum(1))[:, None, None]
    )
    first = [
        run(request, plan, answer, config=dataclasses.replace(window(9), history_guidance=scale))[0]
        for scale in (1.0, 5.0)
    ]
    np.testing.assert_array_equal(*first)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"cache": "reuse"}, {"guidance_rescale": 0.7}])
def test_rows_spread_over_devices_are_those_of_one(fields):
    """Two groups of four devices take three rows and one that is repeated; padding changes nothing."""
    scene = make_sampling_scene(make_request(3, given=(0,)), guided(2.0, **fields))
    plan, model = plan_causal(scene.request, scene.config), make_denoiser(FOUR_HEADS)
    expected = sample(CachedPass(model, scene, plan, TIMES), scene, plan)
    with jax.set_mesh(make_mesh(seq=4)):
        spread = CachedPass(model, scene, plan, TIMES)
        assert len(spread.branches) == 4
        found = sample(spread, scene, plan)
    for shot, tokens in expected.items():
        np.testing.assert_allclose(found[shot], tokens, atol=2e-5)
