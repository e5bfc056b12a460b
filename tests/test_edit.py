"""Editing a prompt after sampling recomputes only the entries that saw it, and keeps the latents."""

from __future__ import annotations

import dataclasses

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

from lct_jax.errors import InputError
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.schedule import Window

# Shot 2 saw shot 1, and shot 4 saw shot 2. Shots 3 and 5 go back to shot 0.
PLAN = tuple(
    Window(shots, shots[-1:]) for shots in ((0,), (0, 1), (1, 2), (0, 3), (2, 4), (0, 3, 5))
)
NEW = make_prompt(np.random.default_rng(9), 4, 2)


@pytest.fixture(scope="module")
def session():
    """Returns a sampled scene with all of its entries, and its latents."""
    scene = make_sampling_scene(make_request(6, alike=True), dataclasses.replace(CONFIG, steps=2))
    cached = CachedPass(make_denoiser(), scene, PLAN, TIMES[::2], retain="all")
    return cached, sample(cached, scene, PLAN)


@pytest.mark.parametrize(
    ("shot", "affected", "passes"),
    [
        (1, (1, 2, 4), [2, 3, 5]),  # entries are numbered from 1, and 0 is the global prompt
        (4, (4,), [5]),
        (3, (3, 5), [4, 6]),
        (None, (0, 1, 2, 3, 4, 5), [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_editing_a_prompt_recomputes_only_entries_that_saw_it(session, shot, affected, passes):
    cached, _ = session
    before = len(cached.cache.passes)
    assert cached.edit(shot, NEW) == affected
    assert cached.cache.passes[before:] == passes


def test_edited_cache_equals_that_of_the_edited_script(session):
    cached, clean = session
    cached.edit(1, NEW)
    scene = cached.scene
    assert scene.request.shots[1].prompt is NEW
    fresh = CachedPass(make_denoiser(), scene, PLAN, TIMES[::2], retain="all")
    for window in PLAN:
        fresh.cache.held[window.shots[-1]] = scene.hold(window.shots[-1], clean[window.shots[-1]])
        fresh.cache.make(window.shots[-1])
    for shot in (2, 4, 5):
        edited, written = (session.cache.gather(shot) for session in (cached, fresh))
        used = np.arange(edited.k.shape[3]) < np.asarray(edited.count)[:, None]
        for found, expected in ((edited.k, written.k), (edited.v, written.v)):
            found, expected = (
                np.moveaxis(np.asarray(x), (1, 3), (0, 1)) for x in (found, expected)
            )
            np.testing.assert_allclose(found[used], expected[used], atol=1e-6)


def test_editing_a_prompt_keeps_latents_until_resampled(session):
    cached, clean = session
    affected = cached.edit(1, make_prompt(np.random.default_rng(10), 5, 2))
    before = len(cached.cache.passes)
    anew = {shot.number: shot.tokens for shot in cached.resample(affected, clean)}
    assert anew.keys() == {1, 2, 4}
    assert cached.cache.passes[before:] == [2, 3, 5]
    assert all(np.abs(anew[shot] - clean[shot]).max() > 1e-3 for shot in anew)


def test_editing_a_missing_global_prompt_is_refused():
    scene = make_sampling_scene(make_request(6, alike=True, bare=True))
    with pytest.raises(InputError, match="found none in this scene"):
        CachedPass(make_denoiser(), scene, PLAN, TIMES, retain="all").edit(None, NEW)
