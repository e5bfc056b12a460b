"""Frames that are held inside of a shot: what the network is given of them, and what comes out."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from causal_scene import TIMES, make_denoiser, make_request, make_sampling_scene, sample
from scenes import FAMILIES
from test_sampling import CHANNELS, CONFIG, Recorder, run
from test_sampling import make_request as make_constant_request
from uncached_pass import UncachedPass

from lct_jax.config import NetworkConfig
from lct_jax.errors import InputError
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.passes import FullPass
from lct_jax.sampling.request import HeldTokens, SceneRequest
from lct_jax.sampling.schedule import plan_autoregressive, plan_causal, plan_joint

each_family = pytest.mark.parametrize("network", FAMILIES.values(), ids=FAMILIES)


def change_shot(request: SceneRequest, number: int, **fields: object) -> SceneRequest:
    shots = list(request.shots)
    shots[number] = dataclasses.replace(shots[number], **fields)
    return dataclasses.replace(request, shots=tuple(shots))


def hold(start: int, value: float, time: float | None = None, count: int = 1) -> HeldTokens:
    return HeldTokens(start, np.full((count, CHANNELS), value, np.float32), time)


def test_held_tokens_have_a_slot_and_a_time_of_their_own_and_nothing_else_changes():
    plain = make_constant_request(2)
    request = change_shot(plain, 1, held=(hold(0, 5.0, time=0.05),))
    found, expected = Recorder(), Recorder()
    for recorder, asked in ((found, request), (expected, plain)):
        run(asked, plan_joint(asked, CONFIG), recorder)
    for (video, text, time_BS), (video2, text2, _), time in zip(
        found.calls, expected.calls, [1.0, 0.75, 0.5, 0.25], strict=True
    ):
        np.testing.assert_array_equal(time_BS, np.float32([[0.0, time, time, 0.05]] * 2))
        np.testing.assert_array_equal(video.index.slot, [[0, 1, 1, 3, 2]] * 2)
        # Mask and positions follow from these.
        for field in ("scene", "shot", "coord"):
            np.testing.assert_array_equal(getattr(video.index, field), getattr(video2.index, field))
        jax.tree.map(np.testing.assert_array_equal, text, text2)
        np.testing.assert_array_equal(video.value[0], video.value[1])


def test_the_noise_of_a_held_part_is_that_of_its_time_and_stays():
    request = change_shot(make_constant_request(1), 0, held=(hold(1, 5.0, time=0.25),))
    recorder = Recorder(lambda video, text, time_BS: jnp.ones(video.value.shape))
    shots = run(request, plan_joint(request, CONFIG), recorder)
    held = [video.value[0, 2] for video, _, _ in recorder.calls]
    for tokens in held[1:]:
        np.testing.assert_array_equal(tokens, held[0])
    unheld = run(
        change_shot(request, 0, held=(hold(1, 0.0, time=1.0),)), plan_joint(request, CONFIG),
        other := Recorder(),
    )  # fmt: skip
    assert unheld
    noise = other.calls[0][0].value[0, 2]
    np.testing.assert_allclose(held[0], 0.75 * 5.0 + 0.25 * noise, atol=1e-6)
    np.testing.assert_array_equal(shots[0][1], [5.0] * CHANNELS)  # as it was given
    assert (shots[0][0] != 5.0).all()


def test_a_part_without_a_time_is_held_at_that_of_conditions():
    request = change_shot(make_constant_request(1), 0, held=(hold(0, 5.0),))
    recorder = Recorder()
    run(request, plan_joint(request, CONFIG), recorder)
    assert recorder.calls[0][2][0].tolist() == [0.0, 1.0, np.float32(CONFIG.condition_time)]


def test_a_given_shot_may_have_a_time_of_its_own():
    request = change_shot(make_constant_request(2, given={0: 5.0}), 0, time=0.5)
    recorder = Recorder()
    run(request, plan_joint(request, CONFIG), recorder)
    assert recorder.calls[0][2][0].tolist() == [0.0, 0.5, 1.0]
    assert np.abs(recorder.calls[0][0].value[0, 1:3] - 2.5).max() > 0.1


def hold_both_ends(request: SceneRequest, number: int) -> SceneRequest:
    """Returns a request whose shot of three rows along time has its first and its last row held."""
    grid = request.shots[number].grid
    row = grid[1] * grid[2]
    rng = np.random.default_rng(3)
    draw = lambda: rng.normal(size=(row, request.channels)).astype(np.float32)
    ends = (HeldTokens(0, draw(), 0.05), HeldTokens((grid[0] - 1) * row, draw()))
    return change_shot(request, number, held=ends)


@pytest.mark.slow
@each_family
def test_both_ends_come_back_in_every_mode_and_the_middle_depends_on_them(network: NetworkConfig):
    plain = make_request(3, network=network)
    request, model = hold_both_ends(plain, 1), make_denoiser(network)
    found = {}
    for held in (plain, request):
        scene = make_sampling_scene(held, network=network)
        config = scene.config
        causal, in_turn = plan_causal(held, config), plan_autoregressive(held, config)
        found[held is request] = [
            sample(FullPass(model.forward, scene, TIMES), scene, plan_joint(held, config)),
            sample(FullPass(model.forward, scene, TIMES), scene, in_turn),
            sample(CachedPass(model, scene, causal, TIMES), scene, causal),
        ]
    first, last = request.shots[1].held
    row = len(first.tokens)
    for shots, free in zip(found[True], found[False], strict=True):
        np.testing.assert_array_equal(shots[1][:row], first.tokens)
        np.testing.assert_array_equal(shots[1][-row:], last.tokens)
        assert np.abs(shots[1][row:-row] - free[1][row:-row]).max() > 1e-3


@pytest.mark.slow
@each_family
@pytest.mark.parametrize("cache", ["renoise", "reuse"])
def test_held_parts_with_a_cache_are_those_without_one(network: NetworkConfig, cache: str):
    request = hold_both_ends(make_request(3, network=network), 1)
    scene = make_sampling_scene(request, network=network)
    scene = dataclasses.replace(scene, config=dataclasses.replace(scene.config, cache=cache))
    plan, model = plan_causal(request, scene.config), make_denoiser(network)
    found = sample(CachedPass(model, scene, plan, TIMES), scene, plan)
    expected = sample(UncachedPass(model, scene, plan, TIMES), scene, plan)
    for shot, tokens in expected.items():
        np.testing.assert_allclose(found[shot], tokens, atol=1e-5)


def test_an_overlap_is_made_of_the_clean_end_of_the_shot_before():
    request = change_shot(make_constant_request(3), 1, overlap=1)
    asked = {}

    def take_over(shot: int, before: np.ndarray) -> np.ndarray:
        asked[shot] = before
        return before[-1:] + 1.0

    shots = run(request, plan_autoregressive(request, CONFIG), Recorder(), take_over=take_over)
    np.testing.assert_array_equal(asked[1], shots[0])
    np.testing.assert_array_equal(shots[1][:1], shots[0][-1:] + 1.0)


def test_an_overlap_with_a_shot_of_the_same_window_is_refused():
    request = change_shot(make_constant_request(3), 1, overlap=1)
    with pytest.raises(InputError, match=r"^script: shots\[1\]\.overlap: the shot before is not f"):
        plan_joint(request, CONFIG)
    given = change_shot(make_constant_request(3, given={0: 1.0}), 1, overlap=1)
    assert plan_joint(given, CONFIG)[0].denoised == (1, 2)
