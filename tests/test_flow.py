"""Times, corruption, weights and the loss, compared with numbers written out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import SLOTS, make_scenes, pack_scenes

from lct_jax import flow
from lct_jax.config import FlowConfig
from lct_jax.types import TokenIndex, Tokens

# One row: a scene of shots with 2 and 1 tokens after its dummy, one shot of 3 tokens, and padding.
SCENE = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 0]], np.int32)
SHOT = np.array([[0, 1, 1, 2, 1, 1, 1, 0, 0]], np.int32)
GROUP = np.array([[0, 1, 1, 2, 3, 3, 3, 0, 0]], np.int32)
INDEX = TokenIndex(SCENE, SHOT, GROUP, np.zeros((1, 9, 3), np.int32))


def _many_groups(rows: int = 400) -> flow.Groups:
    """Returns rows of a scene with a global prompt and three shots, a single shot, a scene of two, and a free slot."""
    scene = jnp.array([[1, 1, 1, 1, 2, 3, 3, 3, 0]])
    shot = jnp.array([[0, 1, 2, 3, 1, 0, 1, 2, 0]])
    return flow.Groups(jnp.tile(scene, (rows, 1)), jnp.tile(shot, (rows, 1)))


def test_finds_the_groups_of_a_row():
    groups = flow.find_groups(INDEX, 6)
    assert groups.scene.tolist() == [[1, 1, 1, 2, 0, 0]]
    assert groups.shot.tolist() == [[0, 1, 2, 1, 0, 0]]


def test_a_shot_in_slot_0_is_not_a_global_prompt():
    single, padding = np.array([[1, 1, 0]]), np.array([[1, 1, 0]])
    index = TokenIndex(single, padding, np.zeros((1, 3), np.int32), np.zeros((1, 3, 3), np.int32))
    groups = flow.find_groups(index, 2)
    assert groups.scene.tolist() == [[1, 0]]
    assert groups.shot.tolist() == [[1, 0]]


def test_weights_average_over_tokens_then_over_shots():
    weight = flow.loss_weights(INDEX, 4)
    third = np.float32(1 / 3)
    assert weight.tolist() == [[0, 0.25, 0.25, 0.5, third, third, third, 0, 0]]


def test_weights_of_every_sample_sum_to_1():
    scenes = make_scenes()
    rows = [[scenes["trio"], scenes["full_text"]], [scenes["single"], scenes["pair"]], []]
    index = pack_scenes(rows).batch.video.index
    weight = np.asarray(flow.loss_weights(index, SLOTS))
    sums = [[weight[row, index.scene[row] == scene].sum() for scene in (1, 2)] for row in range(3)]
    np.testing.assert_allclose(sums, [[1, 1], [1, 1], [0, 0]], rtol=1e-6)
    assert not weight[index.shot == 0].any()


def test_shift_moves_time_towards_noise():
    times = jnp.array([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(flow.shift_time(times, 3.0), [0.0, 0.5, 0.75, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(flow.shift_time(times, 1.0), times)


def test_times_are_logit_normal_and_then_shifted():
    groups = _many_groups()
    config = FlowConfig(mean=-0.5, std=0.7, shift=3.0)
    time = np.asarray(flow.draw_time(jax.random.key(0), groups, config), np.float64)
    time = time[groups.shot > 0]
    assert time.size == 2_400
    # This inverts the shift.
    plain = time / (3.0 - 2.0 * time)
    logit = np.log(plain / (1.0 - plain))
    assert abs(logit.mean() + 0.5) < 0.05  # 3.5 standard errors
    assert abs(logit.std() - 0.7) < 0.035
    within = np.mean(np.abs(logit + 0.5) < 0.7)
    assert abs(within - 0.6827) < 0.035  # of a normal


@pytest.mark.parametrize("times", ["per_shot", "per_scene", "mixed"])
def test_global_prompts_and_free_slots_have_time_0(times):
    time = flow.draw_time(jax.random.key(1), _many_groups(), FlowConfig(times=times))
    assert time.shape == (400, 9) and time.dtype == jnp.float32
    time = np.asarray(time)
    assert not time[:, [0, 5, 8]].any()
    shots = time[:, [1, 2, 3, 4, 6, 7]]
    assert ((shots > 0) & (shots < 1)).all()


def test_every_shot_draws_its_own_time():
    time = np.asarray(flow.draw_time(jax.random.key(2), _many_groups(), FlowConfig()))
    shots = time[:, [1, 2, 3, 4, 6, 7]]
    assert len(np.unique(shots)) > 0.99 * shots.size
    assert abs(np.corrcoef(shots[:, 0], shots[:, 1])[0, 1]) < 0.2


def test_shots_of_a_scene_may_share_one_time():
    config = FlowConfig(times="per_scene")
    time = np.asarray(flow.draw_time(jax.random.key(2), _many_groups(), config))
    first, single, last = time[:, 1:4], time[:, 4:5], time[:, 6:8]
    assert (first == first[:, :1]).all() and (last == last[:, :1]).all()
    scenes = np.concatenate([first[:, :1], single, last[:, :1]], axis=1)
    assert len(np.unique(scenes)) > 0.99 * scenes.size  # other scenes and rows have other times


def test_mixed_times_share_one_time_in_some_scenes():
    config = FlowConfig(times="mixed", together=0.25)
    time = np.asarray(flow.draw_time(jax.random.key(3), _many_groups(), config))
    for shots in (time[:, 1:4], time[:, 6:8]):
        alike = shots[:, 1:] == shots[:, :1]
        np.testing.assert_array_equal(alike.any(axis=1), alike.all(axis=1))
        assert abs(alike.all(axis=1).mean() - 0.25) < 0.087  # 4 standard errors of 400 scenes


def test_draw_differs_by_key_and_gives_unit_noise():
    batch = pack_scenes([[make_scenes()["trio"]]] * 40).batch
    one, two = (
        flow.draw(jax.random.key(seed), batch, slots=SLOTS, config=FlowConfig()) for seed in (0, 1)
    )
    assert one.time.shape == (40, SLOTS) and one.noise.shape == batch.video.value.shape
    assert (np.asarray(one.time)[:, 1:4] != np.asarray(two.time)[:, 1:4]).all()
    assert abs(float(one.noise.mean())) < 0.04 and abs(float(one.noise.std()) - 1.0) < 0.04
    assert abs(float((one.noise * two.noise).mean())) < 0.04
    assert not np.asarray(one.time)[:, [0, 4, 5, 6]].any()


def test_corrupts_each_shot_at_its_time_and_leaves_dummies():
    clean = Tokens(np.full((1, 9, 2), 8.0, np.float32), INDEX)
    noise = np.full((1, 9, 2), -4.0, np.float32)
    time = np.array([[0.0, 0.25, 1.0, 0.5]], np.float32)
    noisy = flow.corrupt(clean, noise, time)
    assert noisy.value[0, :7, 1].tolist() == [8.0, 5.0, 5.0, -4.0, 2.0, 2.0, 2.0]
    assert noisy.index is clean.index


def test_the_velocity_noise_minus_clean_has_no_loss():
    scenes = make_scenes()
    packed = pack_scenes([[scenes["trio"], scenes["full_text"]], [scenes["single"]]])
    batch, added = packed.batch, packed.added
    weight = flow.loss_weights(batch.video.index, SLOTS)
    target = added.noise - batch.video.value

    def loss(velocity):
        errors = flow.token_errors(lambda *_: jnp.asarray(velocity), batch, added)
        return float((weight * errors).sum())

    assert loss(target) == 0.0
    np.testing.assert_allclose(loss(target + 2.0), 4.0 * 3, rtol=1e-6)  # three samples
    assert loss(-target) > 1.0


def test_the_backbone_gets_noisy_tokens_text_and_times():
    scene = make_scenes()["pair"]
    packed = pack_scenes([[scene]])
    seen = {}

    def backbone(video, text, time_BS):
        seen.update(video=video, text=text, time=time_BS)
        return jnp.zeros_like(video.value)

    flow.token_errors(backbone, packed.batch, packed.added)
    assert seen["text"] is packed.batch.text
    assert seen["time"].tolist() == [[0.0, 1.0, 0.375, 0.0, 0.0, 0.0, 0.0]]
    noise, clean = packed.added.noise[0], packed.batch.video.value[0]
    video = np.asarray(seen["video"].value[0])
    np.testing.assert_array_equal(video[0], clean[0])
    np.testing.assert_array_equal(video[1:5], noise[1:5])
    np.testing.assert_allclose(video[5:8], 0.625 * clean[5:8] + 0.375 * noise[5:8], rtol=1e-5)


def test_dummies_and_padding_have_no_loss():
    scenes = make_scenes()
    packed = pack_scenes([[scenes["trio"], scenes["full_text"]], []])
    index = packed.batch.video.index
    weight = flow.loss_weights(index, SLOTS)

    def loss(velocity):
        errors = flow.token_errors(lambda *_: velocity, packed.batch, packed.added)
        return (weight * errors).sum()

    gradient = np.asarray(jax.grad(loss)(jnp.full(packed.added.noise.shape, 0.5)))
    counted = (index.scene > 0) & (index.shot > 0)
    assert np.isfinite(gradient).all()
    assert not gradient[~counted].any()
    assert gradient[counted].all()
    assert (~counted).sum() == 2 + 3 + 28  # two dummies and the padding of both rows


def test_a_loss_is_broken_down_by_time_and_by_shot():
    """INDEX has shots 1 and 2 of one scene and a single shot; at t = 1 a shot is in the last bucket."""
    weight = flow.loss_weights(INDEX, 6)
    error = jnp.array([[50.0, 1, 3, 5, 2, 4, 9, 60, 60]])
    time = jnp.array([[0.0, 0.05, 1.0, 0.95, 0, 0]])
    found = flow.break_down(error, weight, INDEX, time)
    # Sums of weights, then of weighted errors: 0.25 (1 + 3), 0.5 * 5, and (2 + 4 + 9) / 3.
    expected = np.zeros((2, 10))
    expected[:, 0], expected[:, 9] = (0.5, 1.0), (1.5, 7.5)
    np.testing.assert_allclose(found.time, expected, rtol=1e-6)
    np.testing.assert_allclose(found.shot[:, :3], [[1.5, 0.5, 0], [6.0, 2.5, 0]], rtol=1e-6)
    assert found.shot.shape == (2, 6)
    np.testing.assert_allclose(found.time[1].sum(), (weight * error).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("time", "bucket"), [(0.0, 0), (0.099, 0), (0.1, 1), (0.55, 5), (0.999, 9), (1.0, 9)]
)
def test_buckets_are_tenths(time, bucket):
    found = flow.break_down(
        jnp.ones((1, 9)), flow.loss_weights(INDEX, 4), INDEX, jnp.full((1, 4), time)
    )
    assert np.flatnonzero(found.time[0]).tolist() == [bucket]


def test_sums_over_groups_leave_nothing_out():
    values = jnp.arange(9)[None]
    assert flow.sum_groups(values, jnp.asarray(GROUP), 5).tolist() == [[0 + 7 + 8, 3, 3, 15, 0]]
