"""Key shots that are sampled first, pictures of the cast, seeds of shots, and films longer than a window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from causal_scene import TIMES, make_denoiser, make_sampling_scene, sample
from causal_scene import make_request as make_tiny_request
from test_held_parts import change_shot
from test_sampling import CHANNELS, CONFIG, Recorder, make_job, make_request, run, window

from lct_jax.config import SamplingConfig
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.history import choose_history
from lct_jax.sampling.request import SceneRequest, ShotLinks
from lct_jax.sampling.schedule import Window, plan_autoregressive, plan_causal, plan_joint

RELEVANT = SamplingConfig(history="relevant", window=3, history_shots=2)


def tie(request: SceneRequest, links: dict[int, ShotLinks]) -> SceneRequest:
    for number, own in links.items():
        request = change_shot(request, number, links=own)
    return request


def pictured() -> SceneRequest:
    """Returns three shots, of which the second names Anna, and behind them pictures of Anna and of the quay."""
    request = make_request(5, given={3: 1.0, 4: 1.0})
    for number in (3, 4):
        given = np.ones((1, CHANNELS), np.float32)
        request = change_shot(request, number, grid=(1, 1, 1), given=given)
    links = {
        1: ShotLinks(characters=frozenset({"Anna"})),
        2: ShotLinks(place="quay"),
        3: ShotLinks(characters=frozenset({"Anna"}), picture_of="Anna"),
        4: ShotLinks(place="quay", picture_of="quay"),
    }
    return tie(request, links)


def test_key_shots_are_sampled_first_and_seen_by_earlier_shots():
    key = ShotLinks(is_key=True)
    request = tie(make_request(4), {1: key, 3: key})
    assert plan_autoregressive(request, window(3)) == (
        Window(shots=(1,), denoised=(1,)),
        Window(shots=(1, 3), denoised=(3,)),
        Window(shots=(0, 1, 3), denoised=(0,)),
        Window(shots=(1, 2, 3), denoised=(2,)),
    )
    # A cache has what a shot sees before it, in whatever order.
    assert plan_causal(request, window(3)) == (
        Window(shots=(1,), denoised=(1,)),
        Window(shots=(1, 3), denoised=(3,)),
        Window(shots=(1, 3, 0), denoised=(0,)),
        Window(shots=(3, 1, 2), denoised=(2,)),
    )


def test_the_pool_gives_a_shot_what_it_refers_to():
    key = lambda name: ShotLinks(characters=frozenset({name}), is_key=True)
    links = {n: key(name) for n, name in enumerate("ABC")}
    links[5] = ShotLinks(characters=frozenset("C"), named=frozenset("A"))
    request = tie(make_request(6), links)
    assert choose_history(request, 5, RELEVANT) == (0, 2)
    assert choose_history(request, 5, dataclasses.replace(RELEVANT, history="recent")) == (3, 4)


def test_pictures_are_seen_by_those_who_name_them_and_stand_first():
    request = pictured()
    assert [w.shots for w in plan_autoregressive(request, window(9))] == [
        (0,),
        (3, 0, 1),
        (4, 0, 1, 2),
    ]
    assert [w.shots for w in plan_causal(request, window(9))] == [
        (0,),
        (3,),
        (3, 0, 1),
        (4,),
        (4, 0, 1, 2),
    ]
    # A given shot sees whom it names as a sampled one does, so that a sampled one may be given in its place.
    tokens = np.ones((int(np.prod(request.shots[0].grid)), CHANNELS), np.float32)
    given = change_shot(request, 0, given=tokens, links=request.shots[1].links)
    assert [w.shots for w in plan_causal(given, window(9))] == [
        (3,),
        (3, 0),
        (3, 0, 1),
        (4,),
        (4, 0, 1, 2),
    ]
    assert plan_joint(request, window(9))[0] == Window((3, 4, 0, 1, 2), denoised=(0, 1, 2))


def test_a_shot_with_a_seed_has_noise_of_its_own_that_no_other_seed_changes():
    request = change_shot(make_request(2), 1, seed=5)
    noise = [
        [np.asarray(make_job(request, seed=seed).draw_noise(shot)) for shot in (0, 1)]
        for seed in (0, 1)
    ]
    assert (noise[0][0] != noise[1][0]).all()
    np.testing.assert_array_equal(noise[0][1], noise[1][1])
    assert (noise[0][1] != np.asarray(make_job(make_request(2)).draw_noise(1))).all()


@pytest.mark.parametrize("overlap", [0, 1])
def test_twenty_shots_are_sampled_with_a_window_of_nine(overlap: int):
    request = make_request(20)
    for number in range(1, 20 if overlap else 1):
        request = change_shot(request, number, overlap=1)
    config = dataclasses.replace(CONFIG, steps=1)
    plan = plan_autoregressive(request, config)
    assert [w.shots for w in plan[8:]] == [tuple(range(n - 8, n + 1)) for n in range(8, 20)]
    shots = run(
        request, plan, Recorder(), config=config, take_over=lambda shot, before: before[-1:]
    )
    assert sorted(shots) == [*range(20)]
    for number in range(1, 20 if overlap else 1):
        np.testing.assert_array_equal(shots[number][:1], shots[number - 1][-1:])


@pytest.mark.slow
def test_twenty_shots_are_sampled_with_a_window_of_nine_and_a_cache():
    request = make_tiny_request(20, alike=True)
    config = SamplingConfig(steps=4, guidance=3.0, window=9, history_shots=8)
    scene = make_sampling_scene(request, config)
    plan = plan_causal(request, config)
    assert max(len(w.shots) for w in plan) == 9
    executor = CachedPass(make_denoiser(), scene, plan, TIMES)
    shots = sample(executor, scene, plan)
    assert sorted(shots) == [*range(20)]
    assert all(np.isfinite(tokens).all() for tokens in shots.values())
    assert len({tokens.tobytes() for tokens in shots.values()}) == 20
