"""A scene that grows shot by shot with its cache has the latents of the whole scene, to the last bit."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from causal_scene import (
    CONFIG,
    TIMES,
    make_denoiser,
    make_prompt,
    make_request,
    make_sampling_scene,
    sample,
)
from scenes import TINY

from lct_jax.attention.cache import grow, make_cache, store
from lct_jax.backbones.registry import describe
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.changes import find_affected, is_same
from lct_jax.sampling.schedule import Window, plan_causal
from lct_jax.sampling.window import HeldShot, SamplingScene
from lct_jax.types import KeyValues, TokenIndex

# Shot 3 goes back to the first two, and shot 4 sees all.
PLAN = tuple(
    Window(shots, shots[-1:]) for shots in ((0,), (0, 1), (1, 2), (0, 1, 3), (0, 1, 2, 3, 4))
)


def cut(scene: SamplingScene, shots: int) -> SamplingScene:
    """Returns a scene of the first shots."""
    request = dataclasses.replace(scene.request, shots=scene.request.shots[:shots])
    return dataclasses.replace(scene, request=request)


@pytest.mark.parametrize("cache", ["renoise", pytest.param("reuse", marks=pytest.mark.slow)])
def test_a_scene_that_grows_has_the_bits_of_the_whole_scene(cache):
    config = dataclasses.replace(CONFIG, steps=2, cache=cache)
    scene = make_sampling_scene(make_request(5, alike=True), config)
    whole = CachedPass(make_denoiser(), scene, PLAN, TIMES[::2])
    expected = sample(whole, scene, PLAN)
    growing = CachedPass(make_denoiser(), cut(scene, 1), PLAN[:1], TIMES[::2], retain="all")
    clean: dict[int, np.ndarray] = {}
    for number in range(5):
        assert growing.change(cut(scene, number + 1), PLAN[: number + 1]) == (number,) * bool(
            number
        )
        clean |= growing.denoise(PLAN[number], clean, lambda: None)
    for number, tokens in expected.items():
        np.testing.assert_array_equal(clean[number], tokens)
    assert growing.cache.passes == [0, 1, 2, 3, 4, 5]


def test_a_longer_scene_does_not_change_a_shot():
    """Neither longer texts nor more slots, which the whole scene needs, round a shot otherwise."""
    config = dataclasses.replace(CONFIG, steps=2, window=9, history_shots=8)
    request = make_request(9, alike=True)
    large = tuple(dataclasses.replace(shot, grid=(3, 4, 5)) for shot in request.shots)
    scene = make_sampling_scene(dataclasses.replace(request, shots=large), config)
    plan = plan_causal(scene.request, config)
    long = CachedPass(make_denoiser(), scene, plan, TIMES[::2], retain="all")
    short = CachedPass(make_denoiser(), cut(scene, 2), plan[:2], TIMES[::2])
    capacities = lambda cached: (cached.cache.capacity, cached.cache._longest)
    assert (capacities(long), capacities(short)) == ((768, 768), (256, 512))
    clean: dict[int, np.ndarray] = {}
    for window in plan[:2]:
        clean |= long.denoise(window, clean, lambda: None)
    for number, tokens in sample(short, cut(scene, 2), plan[:2]).items():
        np.testing.assert_array_equal(clean[number], tokens)


@pytest.mark.slow
def test_a_cache_of_recent_entries_is_as_large_as_that_of_sampling_and_makes_again_what_it_freed():
    """The last of 12 shots goes back to the second one, which saw the first; both were freed long before."""
    config = dataclasses.replace(CONFIG, steps=1, window=5, history_shots=4)
    request = make_request(12, alike=True)
    large = tuple(dataclasses.replace(shot, grid=(3, 4, 8)) for shot in request.shots)
    scene = make_sampling_scene(dataclasses.replace(request, shots=large), config)
    plan = (*plan_causal(scene.request, config)[:11], Window((1, 10, 11), (11,)))
    whole = CachedPass(make_denoiser(), scene, plan, TIMES[::4])
    expected = sample(whole, scene, plan)
    # It begins with five shots, so that few capacities are compiled.
    growing = CachedPass(make_denoiser(), cut(scene, 5), plan[:5], TIMES[::4], retain="recent")
    clean = sample(growing, cut(scene, 5), plan[:5])
    for number in range(5, 12):
        growing.change(cut(scene, number + 1), plan[: number + 1])
        before = len(growing.cache.passes)
        clean |= growing.denoise(plan[number], clean, lambda: None)
    assert growing.cache.passes[before:] == [1, 2, 12]
    assert growing.cache.capacity == whole.cache.capacity == 768
    assert len(growing.cache.list()) < 9  # of 13
    for number, tokens in expected.items():
        np.testing.assert_array_equal(clean[number], tokens)


def make_session() -> tuple[CachedPass, dict[int, np.ndarray]]:
    """Returns the sampled scene of `PLAN` with all of its entries, and its latents."""
    scene = make_sampling_scene(make_request(5, alike=True), dataclasses.replace(CONFIG, steps=2))
    cached = CachedPass(make_denoiser(), scene, PLAN, TIMES[::2], retain="all")
    return cached, sample(cached, scene, PLAN)


def test_only_entries_that_saw_a_change_are_freed():
    cached, _ = make_session()
    scene = cached.scene
    assert cached.change(scene, PLAN) == ()
    assert cached.cache.list() == {0, 1, 2, 3, 4, 5}
    other = HeldShot(0.2, jnp.zeros_like(cached.cache.held[2].tokens))
    assert cached.change(scene, PLAN, {2: other, 0: cached.cache.held[0]}) == (2, 4)
    assert cached.cache.list() == {0, 1, 2, 4}
    assert cached.cache.held[2] is other
    again = (*PLAN[:3], Window((1, 3), (3,)), PLAN[4])
    assert cached.change(scene, again) == (3, 4)
    assert cached.change(cut(scene, 3), again[:3]) == ()
    assert cached.cache.list() == {0, 1, 2}
    edited = dataclasses.replace(scene.request, prompt=make_prompt(np.random.default_rng(3), 4, 2))
    assert cached.change(dataclasses.replace(scene, request=edited), again) == (0, 1, 2, 3, 4)
    assert cached.cache.list() == set()


def test_an_entry_that_was_freed_is_made_again_when_a_shot_needs_it():
    cached, clean = make_session()
    expected = clean[4]
    cached.cache.drop({0, 1, 2, 3, 4})
    before = {number: tokens for number, tokens in clean.items() if number != 4}
    found = cached.denoise(PLAN[4], before, lambda: None)
    np.testing.assert_array_equal(found[4], expected)


def test_requests_are_the_same_by_their_values():
    one, other = make_request(3), make_request(3)
    assert is_same(one, other)
    changed = dataclasses.replace(other.shots[1], grid=(1, 1, 1))
    assert not is_same(one, dataclasses.replace(other, shots=(other.shots[0], changed)))
    assert not is_same(one.prompt, None)


def test_fixed_shots_hand_no_change_on():
    assert find_affected({1}, PLAN) == (1, 2, 3, 4)
    assert find_affected({2}, PLAN) == (2, 4)
    assert find_affected({0}, PLAN[:3], fixed={1}) == (0, 1)


@pytest.mark.parametrize("kept_as", ["model", "int8"])
def test_a_cache_keeps_its_slots_when_it_grows(kept_as):
    spec = describe(TINY).cache
    empty = make_cache(spec, rows=2, capacity=3, kept_as=kept_as)
    shape = (spec.layers, 2, spec.heads, 2, spec.head_dim)
    kept = KeyValues(jnp.ones(shape), 2 * jnp.ones(shape))
    fill = lambda value: np.full((2, 2), value, np.int32)
    index = TokenIndex(fill(1), fill(4), fill(0), np.full((2, 2, 3), 7, np.int32))
    cache = grow(store(empty, kept, index, np.array([[0, 2], [1, 2]])), 6)
    np.testing.assert_array_equal(cache.index.shot, [[4, 0, 4, 0, 0, 0], [0, 4, 4, 0, 0, 0]])
    assert cache.index.coord.shape == (2, 6, 3)
    values = cache.v.value * cache.v.scale if kept_as == "int8" else cache.v
    np.testing.assert_array_equal(values[0, :, 0, :, 0], 2 * np.sign(cache.index.shot))
