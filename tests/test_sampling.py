"""The sampler, tested with functions for a model: the inputs it gives them, and what it makes of their results."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lct_jax.config import SamplingConfig
from lct_jax.config.network import make_network
from lct_jax.errors import InputError
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.guidance import guide
from lct_jax.sampling.passes import FullPass, sample_scene
from lct_jax.sampling.request import Prompt, SceneRequest, ShotRequest
from lct_jax.sampling.schedule import Window, plan_autoregressive, plan_causal, plan_joint
from lct_jax.sampling.window import SamplingScene

MODEL = make_network(scene_span=8, shot_span=4)
CHANNELS = 3
CONFIG = SamplingConfig(
    steps=4, guidance=2.0, condition_time=0.1, history_time=0.2, frames=5, height=16, width=16
)


def make_prompt(length: int, value: float) -> Prompt:
    return Prompt(
        text=np.full((length, 2), value, np.float32), negative=np.full((2, 2), -value, np.float32)
    )


def make_request(shots: int = 3, *, given: dict[int, float] | None = None) -> SceneRequest:
    """Returns a request of shots of 1x1x2 and 1x2x1 tokens in turn; `given` holds constant clean tokens."""
    given = given or {}
    grids = [(1, 1, 2), (1, 2, 1)]
    return SceneRequest(
        prompt=make_prompt(5, 9.0),
        channels=CHANNELS,
        shots=tuple(
            ShotRequest(
                prompt=make_prompt(3, float(number + 1)),
                grid=grids[number % 2],
                given=np.full((2, CHANNELS), given[number], np.float32)
                if number in given
                else None,
            )
            for number in range(shots)
        ),
    )


class Recorder:
    """A stand-in backbone that returns zeros (or a function's result) and records its inputs."""

    def __init__(self, answer=lambda video, text, time_BS: jnp.zeros(video.value.shape)) -> None:
        self._calls, self.answer = [], answer

    def __call__(self, video, text, time_BS):
        keep = lambda *asked: self._calls.append(jax.tree.map(np.asarray, asked))
        jax.debug.callback(keep, video, text, time_BS, ordered=True)
        return self.answer(video, text, time_BS)

    @property
    def calls(self):
        jax.effects_barrier()
        return self._calls


def make_job(request: SceneRequest, *, config=CONFIG, seed=0, **more) -> SamplingScene:
    return SamplingScene(
        request, config, layout=MODEL.layout, keeps_text=True, key=jax.random.key(seed), **more
    )


def run(
    request: SceneRequest, plan, backbone, *, config=CONFIG, shift=1.0, seed=0, on_step=None, **more
):
    job = make_job(request, config=config, seed=seed, **more)
    executor = FullPass(Partial(backbone), job, time_grid(config.steps, shift, config.solver))
    shots = sample_scene(executor, job, plan, on_step=on_step or (lambda: None))
    return {shot.number: shot.tokens for shot in shots}


def window(size: int) -> SamplingConfig:
    return dataclasses.replace(CONFIG, window=size)


def test_time_grid_runs_from_noise_to_clean_with_the_shift() -> None:
    np.testing.assert_allclose(time_grid(4, 1.0), [1.0, 0.75, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(time_grid(2, 3.0), [1.0, 0.75, 0.0])


def test_joint_plan_denoises_all_but_the_given() -> None:
    plan = plan_joint(make_request(given={1: 1.0}), window(3))
    assert plan == (Window(shots=(0, 1, 2), denoised=(0, 2)),)


def test_joint_plan_refuses_more_shots_than_the_window() -> None:
    with pytest.raises(InputError, match=r"found 3 shots, joint sampling sees at most 2"):
        plan_joint(make_request(), window(2))


def test_autoregressive_plan_sees_the_last_shots_and_later_given_ones() -> None:
    assert plan_autoregressive(make_request(4), window(3)) == (
        Window(shots=(0,), denoised=(0,)),
        Window(shots=(0, 1), denoised=(1,)),
        Window(shots=(0, 1, 2), denoised=(2,)),
        Window(shots=(1, 2, 3), denoised=(3,)),
    )
    assert plan_autoregressive(make_request(3, given={0: 1.0, 2: 1.0}), window(3)) == (
        Window(shots=(0, 1, 2), denoised=(1,)),
    )


def test_a_script_that_gives_every_shot_is_refused() -> None:
    request = make_request(2, given={0: 1.0, 1: 1.0})
    for plan in (plan_joint, plan_autoregressive, plan_causal):
        with pytest.raises(InputError, match="every shot is given"):
            plan(request, window(9))


def test_joint_sampling_uses_shared_times_and_training_coordinates() -> None:
    request, recorder = make_request(2), Recorder()
    run(request, plan_joint(request, window(9)), recorder)
    assert len(recorder.calls) == CONFIG.steps
    for (video, text, time_BS), time in zip(recorder.calls, [1.0, 0.75, 0.5, 0.25], strict=True):
        np.testing.assert_array_equal(time_BS, [[0.0, time, time]] * 2)
        np.testing.assert_array_equal(video.index.shot, [[0, 1, 1, 2, 2]] * 2)
        np.testing.assert_array_equal(video.index.scene, 1)
        # Global text spans 0..8, its dummy sits at 8; shot 1: text at 9, video at 13 and 14; the next
        # group starts at 13 + max(1, 1, 2) = 15, its video at 19 with rows along h.
        coord = [[8, 8, 8], [13, 13, 13], [13, 13, 14], [19, 19, 19], [19, 20, 19]]
        np.testing.assert_array_equal(video.index.coord, [coord] * 2)
        np.testing.assert_array_equal(text.index.coord[0, :8, 0], [0, 1, 2, 3, 4, 9, 10, 11])
        np.testing.assert_array_equal(video.value[:, 0], 0.0)  # the dummy stays clean


def test_both_branches_share_video_and_differ_in_text() -> None:
    request, recorder = make_request(2), Recorder()
    run(request, plan_joint(request, window(9)), recorder)
    video, text, _ = recorder.calls[0]
    np.testing.assert_array_equal(video.value[0], video.value[1])
    np.testing.assert_array_equal(video.index.coord[0], video.index.coord[1])
    used = np.asarray(text.index.scene) > 0
    np.testing.assert_array_equal(used.sum(axis=1), [5 + 3 + 3, 2 + 2 + 2])
    assert text.value[0][used[0]].min() > 0 > text.value[1][used[1]].max()


def test_conditions_are_noised_once_and_keep_their_time() -> None:
    request = make_request(3, given={0: 5.0})
    recorder = Recorder(lambda video, text, time_BS: jnp.ones(video.value.shape))
    shots = run(request, plan_autoregressive(request, window(9)), recorder)
    first, last = recorder.calls[: CONFIG.steps], recorder.calls[CONFIG.steps :]
    np.testing.assert_array_equal(first[1][2], np.float32([[0.0, 0.1, 0.75]] * 2))
    np.testing.assert_array_equal(last[1][2], np.float32([[0.0, 0.1, 0.2, 0.75]] * 2))
    held = [video.value[0, 1:3] for video, _, _ in recorder.calls]
    for tokens in held[1:]:
        # Every step, in every window, has the same noise.
        np.testing.assert_array_equal(tokens, held[0])
    noise = (held[0] - 0.9 * 5.0) / 0.1
    assert 0.1 < np.std(noise) < 3.0 and np.abs(noise).max() < 5.0
    history = last[0][0].value[0, 3:5]
    assert np.abs(history - 0.8 * shots[1]).max() < 0.2 * 5.0
    assert np.abs(history - shots[1]).max() > 0.0
    assert sorted(shots) == [1, 2]


def test_euler_follows_the_velocity_from_noise_to_clean() -> None:
    """With velocity = noise - clean the sampler must return clean exactly, whatever the number of steps."""
    request = make_request(1)
    target = np.arange(6, dtype=np.float32).reshape(2, 3)
    velocity = make_job(request).draw_noise(0) - target

    def answer(video, text, time_BS):
        padded = np.concatenate([np.zeros((1, 3), np.float32), velocity])  # behind the dummy
        return jnp.stack([padded] * 2)

    shots = run(request, plan_joint(request, window(9)), answer, shift=3.0)
    np.testing.assert_allclose(shots[0], target, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_equal_guidance_branches_give_the_unguided_result_bit_for_bit(scale: float) -> None:
    velocity = jax.random.normal(jax.random.key(1), (1, 7, 3))
    pair = jnp.concatenate([velocity, velocity])
    np.testing.assert_array_equal(guide(pair, [scale]), velocity[0])

    request = make_request(2)
    blind = lambda video, text, time_BS: jnp.sin(7.0 * video.value)
    plan = plan_joint(request, window(9))
    guided = run(request, plan, blind, config=dataclasses.replace(CONFIG, guidance=scale))
    unguided = run(request, plan, blind, config=dataclasses.replace(CONFIG, guidance=1.0))
    for shot, tokens in unguided.items():
        np.testing.assert_array_equal(guided[shot], tokens)


def test_guidance_is_linear_in_the_difference() -> None:
    pair = jnp.asarray([[[3.0]], [[1.0]]])
    np.testing.assert_array_equal(guide(pair, [7.5]), [[16.0]])


def test_noise_of_a_shot_depends_only_on_seed_and_shot() -> None:
    request = make_request(3)
    joint, again = (run(request, plan_joint(request, window(9)), Recorder()) for _ in range(2))
    in_turn = run(request, plan_autoregressive(request, window(9)), Recorder())
    other = run(request, plan_joint(request, window(9)), Recorder(), seed=1)
    for shot in joint:
        np.testing.assert_array_equal(joint[shot], again[shot])
        np.testing.assert_array_equal(joint[shot], in_turn[shot])  # zero velocity: the noise itself
        assert np.abs(joint[shot] - other[shot]).max() > 0.1
    assert np.abs(joint[0] - joint[2]).max() > 0.1


def test_a_scene_without_global_prompt_starts_at_the_origin() -> None:
    request = dataclasses.replace(make_request(1), prompt=None)
    recorder = Recorder()
    run(request, plan_joint(request, window(9)), recorder)
    video, _, time_BS = recorder.calls[0]
    np.testing.assert_array_equal(video.index.coord[0], [[4, 4, 4], [4, 4, 5]])
    np.testing.assert_array_equal(video.index.shot, 1)
    np.testing.assert_array_equal(time_BS, [[1.0]] * 2)


def test_every_step_is_reported() -> None:
    reported = []
    request = make_request(3)
    plan = plan_autoregressive(request, window(9))
    run(request, plan, Recorder(), on_step=lambda: reported.append(1))
    assert len(reported) == 3 * CONFIG.steps


def test_causal_plan_makes_every_shot_the_last_of_its_window() -> None:
    assert plan_causal(make_request(4), window(3)) == (
        Window(shots=(0,), denoised=(0,)),
        Window(shots=(0, 1), denoised=(1,)),
        Window(shots=(0, 1, 2), denoised=(2,)),
        Window(shots=(1, 2, 3), denoised=(3,)),
    )


def test_causal_plan_puts_later_given_shots_before_those_that_see_them() -> None:
    assert plan_causal(make_request(3, given={2: 1.0}), window(9)) == (
        Window(shots=(2,), denoised=()),
        Window(shots=(2, 0), denoised=(0,)),
        Window(shots=(2, 0, 1), denoised=(1,)),
    )
    # Later windows have both in the script's order, since shot 2 may go on from shot 1.
    assert plan_causal(make_request(3, given={1: 1.0}), window(9)) == (
        Window(shots=(1,), denoised=()),
        Window(shots=(1, 0), denoised=(0,)),
        Window(shots=(0, 1, 2), denoised=(2,)),
    )
    assert plan_causal(make_request(5, given={2: 1.0, 4: 1.0}), window(9)) == (
        Window(shots=(2,), denoised=()),
        Window(shots=(2, 4), denoised=()),
        Window(shots=(2, 4, 0), denoised=(0,)),
        Window(shots=(2, 4, 0, 1), denoised=(1,)),
        Window(shots=(4, 0, 1, 2, 3), denoised=(3,)),
    )
    assert plan_causal(make_request(3, given={1: 1.0}), window(2)) == (
        Window(shots=(1,), denoised=()),
        Window(shots=(1, 0), denoised=(0,)),
        Window(shots=(1, 2), denoised=(2,)),
    )
