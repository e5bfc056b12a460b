"""Sampling behind a cache: it equals the full causal pass, and any plan equals itself without a cache."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from causal_reference import window_velocities
from causal_scene import CONFIG, TIMES, make_job, make_prompt, make_request, serve
from scenes import TINY, TinyModel

from lct_jax.errors import InputError
from lct_jax.sampling.causal import Cached, Uncached
from lct_jax.sampling.entries import Entries
from lct_jax.sampling.euler import run_steps
from lct_jax.sampling.plan import Window, plan_causal
from lct_jax.sampling.request import SceneRequest, Ties
from lct_jax.sampling.sampler import Together, sample_scene
from lct_jax.sampling.window import Job, pack_window


def sample(executor, job: Job, plan) -> dict[int, np.ndarray]:
    return {shot.number: shot.tokens for shot in sample_scene(executor, job, plan)}


def draw_clean(request: SceneRequest) -> dict[int, np.ndarray]:
    """Latents for every shot, given ones as they are."""
    rng = np.random.default_rng(5)
    shapes = [(int(np.prod(shot.grid)), request.channels) for shot in request.shots]
    drawn = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return {
        n: x if request.shots[n].given is None else request.shots[n].given
        for n, x in enumerate(drawn)
    }


def make_entries(job: Job, plan, clean: dict[int, np.ndarray], model) -> Entries:
    """Entries of all shots, made from latents that are at hand."""
    entries = Entries(model, job, plan, keep_all=True)
    for window in plan:
        shot = window.shots[-1]
        entries.held[shot] = job.hold(shot, clean[shot])
        entries.make(shot)
    return entries


def compare_velocities(job: Job, plan, model, *, atol: float = 1e-5) -> None:
    """Both branches of every shot at several times: behind the cache, and in one pass over all shots."""
    clean = draw_clean(job.request)
    entries = make_entries(job, plan, clean, model)
    full, rng = jax.jit(lambda forward, *inputs: forward(*inputs)), np.random.default_rng(6)
    for window in plan:
        shot = window.shots[-1]
        velocity = jax.jit(lambda extend, *inputs: extend(*inputs))
        for time in (1.0, 0.4):
            noisy = rng.normal(size=clean[shot].shape).astype(np.float32)
            own = entries.pack(shot, noisy)
            found = velocity(
                model.extend(entries.recall(shot)), own.video, own.text, np.full((2, 1), time)
            )
            video = [*(entries.held[s].tokens for s in window.shots[:-1]), noisy]
            whole = pack_window(job, window.shots, video)
            times = [entries.held[s].time for s in window.shots[:-1]]
            times = np.tile(
                np.float32([*([] if job.request.prompt is None else [0.0]), *times, time]), (2, 1)
            )
            expected = np.asarray(full(model.forward, whole.video, whole.text, times))
            mine = whole.video.index.shot[0] == len(window.shots)
            real = own.video.index.scene[0] != 0
            np.testing.assert_allclose(np.asarray(found)[:, real], expected[:, mine], atol=atol)
            assert (
                np.abs(expected[0, mine] - expected[1, mine]).max() > 0.01
            )  # guidance has something to do


@pytest.mark.parametrize("case", [{"given": (1,)}, {"bare": True}], ids=["given", "bare"])
def test_a_velocity_behind_the_cache_is_that_of_the_full_causal_pass(case):
    job = make_job(make_request(5, **case))
    plan = plan_causal(job.request, CONFIG)
    assert len(plan[-1].shots) == 5
    compare_velocities(job, plan, serve())


@pytest.mark.parametrize("case", [{"given": (0, 2)}, {"bare": True}], ids=["given", "bare"])
def test_a_scene_behind_the_cache_is_that_of_full_causal_passes(case):
    job = make_job(make_request(5, **case))
    plan = plan_causal(job.request, CONFIG)
    cached = sample(Cached(serve(), job, plan, TIMES), job, plan)
    made = [window for window in plan if window.denoised]
    expected = sample(Together(serve().forward, job, TIMES), job, made)
    assert cached.keys() == expected.keys()
    for shot, tokens in cached.items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)  # of four guided steps


PLANS = {
    "out of order": (
        Window((0,), (0,)),
        Window((1,), (1,)),
        Window((1, 0, 2), (2,)),
        Window((2, 0, 3), (3,)),
    ),
    "sliding": plan_causal(make_request(6), dataclasses.replace(CONFIG, window=3)),
}


@pytest.mark.parametrize("cache", ["renoise", "reuse"])
@pytest.mark.parametrize("name", PLANS)
def test_any_plan_equals_itself_without_a_cache(name, cache):
    config = dataclasses.replace(CONFIG, cache=cache)
    plan = PLANS[name]
    job = make_job(make_request(len(plan)), config)
    cached, uncached = (kind(serve(), job, plan, TIMES) for kind in (Cached, Uncached))
    expected = sample(uncached, job, plan)
    for shot, tokens in sample(cached, job, plan).items():
        np.testing.assert_allclose(tokens, expected[shot], atol=2e-5)
    assert len(uncached.entries.passes) > 3 * len(cached.entries.passes)


@pytest.mark.parametrize("name", PLANS)
def test_any_plan_equals_a_plain_pass_over_its_windows(name):
    """The reference has no cache, no merging and no code of the package; each token sees what its window says."""
    plan = PLANS[name]
    job = make_job(make_request(len(plan)))
    clean = draw_clean(job.request)
    model = TinyModel(TINY)
    entries = make_entries(job, plan, clean, serve())
    noisy = np.random.default_rng(1).normal(size=clean[len(plan) - 1].shape).astype(np.float32)
    own = entries.pack(len(plan) - 1, noisy)
    found = serve().observe(
        entries.recall(len(plan) - 1), own.video, own.text, np.full((2, 1), 0.6, np.float32)
    )
    held = {shot: (entry.tokens, entry.time) for shot, entry in entries.held.items()}
    held[len(plan) - 1] = (noisy, 0.6)
    for branch, part in enumerate(("text", "negative")):
        expected = window_velocities(
            model.weights,
            TINY,
            [window.shots for window in plan],
            held,
            grids=[shot.grid for shot in job.request.shots],
            prompts=[getattr(shot.prompt, part) for shot in job.request.shots],
            global_prompt=getattr(job.request.prompt, part),
        )
        np.testing.assert_allclose(found.velocity[branch], expected, atol=1e-5)


def test_reuse_keeps_the_step_nearest_the_time_a_history_is_held_at():
    job = make_job(make_request(2), dataclasses.replace(CONFIG, cache="reuse", history_time=0.3))
    plan = plan_causal(job.request, job.config)
    cached = Cached(serve(), job, plan, TIMES)
    shots = sample(cached, job, plan)
    held = cached.entries.held[0]
    assert held.time == 0.25
    # From the step that was kept, the last Euler step leads to the finished shot.
    assert 0.01 < np.abs(held.tokens - shots[0]).max()
    assert cached.entries.passes == [0, 1]  # the global prompt and shot 0; nothing sees shot 1
    renoised = make_job(make_request(2)).hold(0, shots[0])
    assert np.abs(renoised.tokens - held.tokens).max() > 0.01


def test_long_scenes_go_on_within_the_window():
    """The twelfth and the thirtieth shot: as without a cache, by programs that the fifth one compiled."""
    config = dataclasses.replace(CONFIG, window=3, steps=2)
    request = make_request(30, alike=True)
    job, times = make_job(request, config), TIMES[::2]
    plan = plan_causal(request, config)
    clean = draw_clean(request)
    entries = make_entries(job, plan, clean, serve())
    cached = Cached(serve(), job, plan, times)
    for number in (11, 29):
        cached.entries.held |= {s: entries.held[s] for s in range(number)}
        cached.entries.drop(cached.entries.list())
        uncached = Uncached(serve(), job, plan, times)
        uncached.entries.held |= {s: entries.held[s] for s in range(number)}
        expected = uncached.denoise(plan[number], clean, lambda: None)
        for shot in plan[number].shots[:-1]:
            cached.entries._cache = entries._cache  # every entry, made in order
        found = Cached(serve(), job, plan, times, retain="all")
        found.entries = entries
        tokens = found.denoise(plan[number], clean, lambda: None)[number]
        np.testing.assert_allclose(tokens, expected[number], atol=2e-5)
