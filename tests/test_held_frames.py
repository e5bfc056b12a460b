"""Frames that training holds at a low time, as sampling holds those that are given."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import SLOTS, make_scenes, pack_scenes

from lct_jax import flow
from lct_jax.backbones.mmdit.names import decays
from lct_jax.config import FlowConfig, TrainingConfig
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state
from lct_jax.training.step import make_step
from lct_jax.types import PADDING_SCENE, PackedBatch, TokenIndex, Tokens

# A scene of a dummy, a shot of four frames of two tokens and a still of two tokens; padding. The shot lies at 7.
PLACE = np.array([3, 7, 8, 7, 8, 9, 9, 10, 10, 20, 20, 0, 0])
SHOT = np.array([0, *[1] * 8, 2, 2, 0, 0])
SCENE = np.array([*[1] * 11, 0, 0])
# Tokens of a shot need not lie in the order of their frames.
FRAME = [0, 0, 1, 0, 1, 2, 2, 3, 3, 0, 0]


def make_batch(rows: int) -> PackedBatch:
    coord = np.repeat(PLACE[:, None], 3, axis=1)
    index = TokenIndex(*(np.tile(leaf, (rows, 1)) for leaf in (SCENE, SHOT, SHOT)), None)
    index = index._replace(coord=np.tile(coord, (rows, 1, 1)))
    video = Tokens(jnp.zeros((rows, len(PLACE), 1)), index)
    return PackedBatch(video, video)


def hold(*, rows: int = 200, **fields: float) -> flow.Held:
    batch = make_batch(rows)
    added = flow.Draw(time=jnp.full((rows, 4), 0.7), noise=jnp.zeros((rows, len(PLACE), 1)))
    config = FlowConfig(**fields)
    return flow.hold_frames(jax.random.key(0), batch, added, slots=4, config=config)


def test_first_or_last_frames_of_a_shot_are_held_and_some_are_left():
    held = np.asarray(hold(hold=1.0).tokens)
    assert not held[:, [0, 9, 10, 11, 12]].any()  # neither dummy nor still nor padding
    kinds = {
        tuple(sorted({f for f, h in zip(FRAME[1:9], row[1:9], strict=True) if h})) for row in held
    }
    # One to three frames: the first ones, or as many of the first as of the last ones, or one more of the last.
    assert kinds == {(0,), (0, 1), (0, 1, 2), (3,), (0, 3), (0, 2, 3)}
    # Both tokens of a frame are held, or none.
    for frame in range(4):
        of_frame = held[:, [n for n in range(1, 9) if FRAME[n] == frame]]
        assert (of_frame.all(axis=1) == of_frame.any(axis=1)).all()


def test_held_tokens_have_a_low_time_of_their_own_and_the_others_that_of_their_shot():
    found = hold(hold=1.0)
    index = found.batch.video.index
    time = np.take_along_axis(np.asarray(found.added.time), np.asarray(index.slot), axis=1)
    held = np.asarray(found.tokens)
    assert (time[held] < 0.2).all() and len(np.unique(time[held])) == 200
    assert (time[~held] == np.float32(0.7)).all()
    np.testing.assert_array_equal(np.asarray(index.slot)[held], 5)  # slot 1, four slots on
    np.testing.assert_array_equal(index.shot, make_batch(200).video.index.shot)


def test_the_chance_of_held_frames_is_that_of_the_config():
    share = np.asarray(hold(hold=0.3).tokens).any(axis=1).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 200)
    assert not np.asarray(hold(hold=0.0).tokens).any()


def test_held_tokens_are_out_of_the_loss_and_the_others_share_what_is_left():
    index = make_batch(1).video.index
    held = np.zeros((1, 13), bool)
    held[0, [1, 3]] = True
    weight = flow.loss_weights(index, 4, held_BL=jnp.asarray(held))[0]
    twelfth = np.float32(1 / 12)
    expected = [0, 0, twelfth, 0, *[twelfth] * 5, 0.25, 0.25, 0, 0]
    np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_packed_shots_of_any_shape_hold_whole_frames():
    scenes = make_scenes()
    packed = pack_scenes(
        [[scenes["trio"], scenes["full_text"]], [scenes["single"], scenes["pair"]]]
    )
    config = FlowConfig(hold=1.0)
    found = flow.hold_frames(
        jax.random.key(1), packed.batch, packed.added, slots=SLOTS, config=config
    )
    held, index = np.asarray(found.tokens), packed.batch.video.index
    weight = np.asarray(flow.loss_weights(index, SLOTS, held_BL=found.tokens))
    for row, scene in ((0, 1), (0, 2), (1, 1), (1, 2)):
        np.testing.assert_allclose(weight[row, index.scene[row] == scene].sum(), 1.0, rtol=1e-6)
    # The shots of two frames and more: one of two frames of 2x1 and one of 3x2, and one of three.
    own = [(row, slot) for row in (0, 1) for slot in np.unique(index.slot[row][held[row]])]
    sizes = [int(held[row][index.slot[row] == slot].sum()) for row, slot in own]
    assert sizes == [2, 6, sizes[2]] and sizes[2] in (1, 2)
    assert not (held & (index.scene == PADDING_SCENE)).any()


@pytest.mark.slow  # a step is compiled
def test_a_step_learns_from_what_is_not_held(tiny):
    batch = pack_scenes([[make_scenes()["pair"]]]).batch
    training = TrainingConfig(steps=2, warmup=1)
    optimizer = make_optimizer(training, decays=decays)
    state = jax.jit(partial(init_state, optimizer=optimizer))(tiny.params)
    outputs = []
    for chance in (0.0, 1.0):
        config = FlowConfig(hold=chance)
        step = make_step(
            tiny.graph,
            optimizer,
            flow_config=config,
            training=training,
            slots=SLOTS,
            samples=1.0,
        )
        outputs.append(jax.jit(step)(state, None, batch, jax.random.key(3))[1])
    plain, held = outputs
    np.testing.assert_array_equal(held.time, plain.time)
    index = batch.video.index
    long = np.asarray(index.shot == 2) & np.asarray(index.scene != PADDING_SCENE)
    assert plain.weights[long].min() > 0
    assert 0 < (held.weights[long] == 0).sum() < long.sum()
    for output in outputs:
        np.testing.assert_allclose(output.weights.sum(), 1.0, rtol=1e-6)
        np.testing.assert_allclose(output.loss, (output.weights * output.errors).sum(), rtol=1e-5)
    # What is held is seen at another time, so the errors of its shot are others.
    assert (held.errors[long] != plain.errors[long]).all()
