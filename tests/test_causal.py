"""Sampling with a cache equals the full causal pass, and any plan gives the same without a cache."""

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
from jax.tree_util import Partial
from uncached_pass import UncachedPass

from lct_jax.sampling import window
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.euler import run_steps
from lct_jax.sampling.passes import FullPass
from lct_jax.sampling.schedule import Window, plan_causal

PLANS = {
    "out of order": OUT_OF_ORDER,
    "sliding": tuple(Window(tuple(range(max(0, n - 2), n + 1)), (n,)) for n in range(4)),
}


@pytest.mark.parametrize("case", [{"given": (0,)}, {"bare": True}], ids=["given", "bare"])
def test_cached_velocity_equals_full_causal_pass(case):
    scene = make_sampling_scene(make_request(4, **case))
    plan = plan_causal(scene.request, CONFIG)
    assert len(plan[-1].shots) == 4
    compare_with_full_pass(scene, plan, make_denoiser(), atol=1e-5)


def test_cached_scene_equals_full_causal_passes():
    scene = make_sampling_scene(make_request(4, given=(0, 1)))
    plan = plan_causal(scene.request, CONFIG)
    assert [window.shots for window in plan] == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]
    cached = sample(CachedPass(make_denoiser(), scene, plan, TIMES), scene, plan)
    generated = [window for window in plan if window.denoised]
    expected = sample(FullPass(make_denoiser().forward, scene, TIMES), scene, generated)
    assert cached.keys() == expected.keys() == {2, 3}
    for shot, tokens in cached.items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)  # four guided steps add up


def test_cached_scene_with_a_later_given_shot_equals_uncached():
    """Shot 2 comes before shot 1 in its window, and after it in the window of shot 3, which may go on from shot 2."""
    scene = make_sampling_scene(make_request(4, given=(0, 2)))
    plan = plan_causal(scene.request, CONFIG)
    assert [window.shots for window in plan] == [(0,), (0, 2), (2, 0, 1), (0, 1, 2, 3)]
    compare_with_plain_pass(scene, plan, make_denoiser())
    cached, uncached = (
        kind(make_denoiser(), scene, plan, TIMES) for kind in (CachedPass, UncachedPass)
    )
    expected = sample(uncached, scene, plan)
    for shot, tokens in sample(cached, scene, plan).items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)


@pytest.mark.parametrize("cache", ["renoise", "reuse"])
@pytest.mark.parametrize("name", PLANS)
def test_cached_sampling_of_any_plan_equals_uncached(name, cache):
    plan = PLANS[name]
    scene = make_sampling_scene(make_request(4), dataclasses.replace(CONFIG, cache=cache))
    cached, uncached = (
        kind(make_denoiser(), scene, plan, TIMES) for kind in (CachedPass, UncachedPass)
    )
    expected = sample(uncached, scene, plan)
    for shot, tokens in sample(cached, scene, plan).items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)
    assert len(cached.cache.passes) == 4  # of the global prompt and of every shot but the last
    assert len(uncached.cache.passes) > 30


@pytest.mark.parametrize("kv_dtype", ["model", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_step_without_guidance_reads_the_history_of_the_prompted_row(monkeypatch, kv_dtype):
    config = dataclasses.replace(CONFIG, guidance_from=0.4, guidance_to=0.8, kv_dtype=kv_dtype)
    scene = make_sampling_scene(make_request(3), config)
    plan = plan_causal(scene.request, config)
    assert scene.scheme.skips
    found = sample(CachedPass(make_denoiser(), scene, plan, TIMES), scene, plan)
    monkeypatch.setattr(window, "is_always_guided", lambda config: True)
    expected = sample(CachedPass(make_denoiser(), scene, plan, TIMES), scene, plan)
    for shot, tokens in found.items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)


@pytest.mark.parametrize("name", PLANS)
def test_cached_sampling_of_any_plan_equals_plain_reference(name):
    """The reference has no cache, no merging and no code of the package; a token sees what its window says."""
    compare_with_plain_pass(make_sampling_scene(make_request(4)), PLANS[name], make_denoiser())


def test_cache_reuse_stores_the_step_nearest_to_history_time():
    scene = make_sampling_scene(
        make_request(2), dataclasses.replace(CONFIG, cache="reuse", history_time=0.3)
    )
    plan = plan_causal(scene.request, scene.config)
    cached = CachedPass(make_denoiser(), scene, plan, TIMES)
    shots = sample(cached, scene, plan)
    held = cached.cache.held[0]
    assert held.time == 0.25
    assert cached.cache.passes == [0, 1]  # the global prompt and shot 0; nothing sees shot 1
    renoised = scene.hold(0, shots[0])
    assert renoised.time == 0.3
    assert np.abs(renoised.tokens - held.tokens).max() > 0.01


def test_cached_sampling_of_a_scene_longer_than_the_window():
    """The twelfth and the thirtieth shot equal those of the same plan without a cache."""
    config = dataclasses.replace(CONFIG, window=3, steps=2)
    scene, times = make_sampling_scene(make_request(30, alike=True), config), TIMES[::2]
    plan, clean = plan_causal(scene.request, config), draw_clean(scene.request)
    assert plan[29].shots == (27, 28, 29)
    cached = CachedPass(make_denoiser(), scene, plan, times, retain="all")
    cached.cache = make_cache(scene, plan, clean, make_denoiser())
    uncached = UncachedPass(make_denoiser(), scene, plan, times)
    uncached.cache.held |= cached.cache.held
    for number in (29, 11):
        # A shot that is given counts as finished.
        others = {shot: tokens for shot, tokens in clean.items() if shot != number}
        found = cached.denoise(plan[number], others, lambda: None)
        expected = uncached.denoise(plan[number], others, lambda: None)
        np.testing.assert_allclose(found[number], expected[number], atol=2e-5)


def test_unneeded_cache_entries_are_freed():
    """A scene of thirty shots needs the slots of one window."""
    config = dataclasses.replace(CONFIG, window=3)
    scene = make_sampling_scene(make_request(30, alike=True), config)
    cached = CachedPass(make_denoiser(), scene, plan_causal(scene.request, config), TIMES)
    capacity = cached.cache._cache.index.scene.shape[1]
    assert capacity == 256 > 9 + 3 * 12  # spans of text and six tokens of video, up to a multiple


def test_shots_of_one_size_share_one_compiled_program():
    calls = []

    class Counted:
        """The model; it counts how often Python calls a velocity."""

        def __init__(self, denoiser):
            self.denoiser = denoiser

        def denoise(self, history):
            return Partial(count, self.denoiser.denoise(history))

        def __getattr__(self, name):
            return getattr(self.denoiser, name)

    def count(velocity, *inputs):
        calls.append(1)
        return velocity(*inputs)

    before = run_steps._cache_size()
    for shots in (3, 4):  # prompts of many lengths, histories of none to three shots
        scene = make_sampling_scene(make_request(shots, alike=True))
        plan = plan_causal(scene.request, CONFIG)
        sample(CachedPass(Counted(make_denoiser()), scene, plan, TIMES), scene, plan)
    assert (len(calls), run_steps._cache_size() - before) == (1, 1)


@pytest.mark.slow
def test_int8_cache_changes_velocities_by_about_a_hundredth():
    """The error of a velocity, relative to its size, was measured as 0.006."""
    plan, found = PLANS["sliding"], {}
    for kept_as in ("model", "int8"):
        scene = make_sampling_scene(make_request(4), dataclasses.replace(CONFIG, kv_dtype=kept_as))
        cache = make_cache(scene, plan, draw_clean(scene.request), make_denoiser())
        own = cache.pack(3, scene.start(3, {})).batch
        history = cache.gather(3)
        stored = jax.tree.leaves(history.k)
        assert stored[0].dtype == {"model": np.float32, "int8": np.int8}[kept_as]
        time_BS = np.full((2, 1), 0.6, np.float32)
        found[kept_as] = np.asarray(
            make_denoiser().prefill(history, own.video, own.text, time_BS).velocity
        )
    error = np.linalg.norm(found["int8"] - found["model"]) / np.linalg.norm(found["model"])
    assert 1e-4 < error < 0.02
