"""Tests the small VAE: it starts as the patch codec, uses no later frames, works in chunks, and is saved whole."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_patch_codec import film

from lct_jax.codecs.causal_conv import Past
from lct_jax.codecs.patch import PatchCodec, fit_patch_codec
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import load_codec
from lct_jax.codecs.tiny_training import (
    CodecState,
    CodecTrainingConfig,
    continue_from,
    init_state,
    make_optimizer,
    make_step,
)
from lct_jax.codecs.tiny_vae import TinyVAE, abstract_network
from lct_jax.errors import InputError
from lct_jax.tensors import name_leaves

CONFIG = CodecTrainingConfig(
    name="tiny",
    channels=6,
    blocks_width=8,
    blocks_depth=1,
    fine_width=8,
    fine_depth=1,
    pixel_width=8,
    pixel_depth=1,
    height=32,
    width=48,
    crop=32,
    clip_frames=5,
    steps=40,
    warmup=2,
    learning_rate=3e-3,
)


@pytest.fixture(scope="module")
def patch() -> PatchCodec:
    return fit_patch_codec([film(9, 32, 48, seed=seed) for seed in range(3)], channels=6)


@pytest.fixture(scope="module")
def start(patch):
    """Returns the parameters before the first step, by name."""
    return init_state(CONFIG, patch, make_optimizer(CONFIG))


def to_codec(params, *, mean=0.0, scale=1.0) -> TinyVAE:
    tensors = {name: np.asarray(leaf) for name, leaf in name_leaves(params).items()}
    tensors |= {
        "latent.mean": np.full(6, mean, np.float32),
        "latent.scale": np.asarray([scale], np.float32),
    }
    return TinyVAE(CONFIG.network, tensors, credit="By us")


@pytest.fixture(scope="module")
def codec(start) -> TinyVAE:
    """Returns a codec with random numbers everywhere, because branches that start at zero would hide mistakes."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + 0.05 * rng.normal(size=x.shape), start.params)
    return to_codec(params, mean=0.5, scale=2.0)


def test_it_starts_as_the_patch_codec(patch, start):
    video = film(9, 32, 48, seed=5)
    untrained = to_codec(start.params)
    np.testing.assert_allclose(untrained.encode(video), patch.encode(video), atol=0.02)
    made, expected = untrained.decode(patch.encode(video)), patch.decode(patch.encode(video))
    assert np.abs(made.astype(int) - expected).max() <= 1  # weights are kept in half precision


def test_a_video_in_chunks_equals_the_whole_video(codec):
    video = film(9, 32, 48, seed=6)
    graph, shapes = abstract_network(CONFIG.network)
    tensors = [codec._tensors[name].astype(np.float32) for name in name_leaves(shapes)]
    params = jax.tree.unflatten(jax.tree.structure(shapes), tensors)

    @jax.jit
    def whole(params, video):
        from flax import nnx

        network = nnx.merge(graph, params)
        mean, _ = network.encode(video, Past(None))
        return mean, network.decode(mean, Past(None))

    mean, made = whole(params, video[None] / np.float32(127.5) - 1)
    latent = codec.encode(video)
    np.testing.assert_allclose(latent * 2.0 + 0.5, mean[0], atol=1e-4)
    found = codec.decode(latent)
    assert found.shape == video.shape
    np.testing.assert_allclose(found, np.clip((made[0] + 1) * 127.5, 0, 255), atol=0.6)


def test_no_frame_depends_on_later_frames(codec):
    video = film(9, 32, 48, seed=7)
    changed = video.copy()
    changed[5:] = 255 - changed[5:]
    one, other = codec.encode(video), codec.encode(changed)
    np.testing.assert_array_equal(one[:2], other[:2])
    assert np.abs(one[2] - other[2]).max() > 0.1
    np.testing.assert_array_equal(codec.decode(one)[:5], codec.decode(other)[:5])
    np.testing.assert_array_equal(codec.encode(video[:1]), one[:1])


def test_save_and_load(codec, tmp_path):
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    loaded = load_codec(path, channels=6)
    assert isinstance(loaded, TinyVAE)
    assert isinstance(loaded, VideoCodec)
    assert loaded.identity == codec.identity
    assert codec.identity.startswith("tiny-vae-4x8x8x6:sha256:")
    video = film(5, 32, 48)
    np.testing.assert_array_equal(loaded.encode(video), codec.encode(video))
    with pytest.raises(InputError, match="found 6 channels, expected 16"):
        load_codec(path, channels=16)
    with pytest.raises(InputError, match="tensors differ from what is expected; missing: mean"):
        PatchCodec.load(path, channels=6)


@pytest.mark.slow
def test_training_brings_the_loss_down(start):
    """The loss is the absolute error alone, because LPIPS has tests of its own."""
    optimizer = make_optimizer(CONFIG)
    graph, _ = abstract_network(CONFIG.network)
    lpips = lambda a, b: jnp.square(a - b).mean(axis=(1, 2, 3))
    step = jax.jit(make_step(graph, CONFIG, optimizer, lpips))
    clips = np.stack([film(5, 32, 32, seed=seed) for seed in range(2)]) / np.float32(127.5) - 1
    state, key, losses = start, jax.random.key(0), []
    for _ in range(CONFIG.steps):
        state, metrics = step(state, clips, key)
        losses.append(float(metrics["error"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert int(state.step) == CONFIG.steps
    again, _ = step(start, clips, key)  # random numbers follow from key and step
    once_more, _ = step(start, clips, key)
    jax.tree.map(np.testing.assert_array_equal, again.params, once_more.params)


def shapes_of(**change) -> CodecState:
    """Returns the state before the first step of a network of other sizes, as shapes alone."""
    network = dataclasses.replace(CONFIG, **change).network
    return CodecState(abstract_network(network)[1], None, None, None)


def test_training_continues_from_a_trained_codec(codec, start):
    """Pixel blocks that the trained codec lacks keep their start, which adds nothing."""
    state = continue_from(start, codec.parameters, "x")
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema)
    for name, leaf in name_leaves(state.params).items():
        np.testing.assert_array_equal(leaf, codec.parameters[name], err_msg=name)
    older = {n: x for n, x in codec.parameters.items() if not n.startswith("decoder.pixels.")}
    state, untrained = continue_from(start, older, "x"), name_leaves(start.params)
    for name, leaf in name_leaves(state.params).items():
        np.testing.assert_array_equal(leaf, older.get(name, untrained[name]), err_msg=name)
    assert not untrained["decoder.pixels.head.kernel"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks_width": 16}, r"init_from: x: .*: found \(.*\), expected \(.*\)"),
        ({"fine_depth": 2}, r"init_from: x: found no decoder\.fine_blocks\.1\."),
        ({"pixel_depth": 0}, r"init_from: x: found decoder\.pixels\..*, expected the"),
    ],
)
def test_training_refuses_a_codec_of_other_sizes(codec, change, message):
    with pytest.raises(InputError, match=message):
        continue_from(shapes_of(**change), codec.parameters, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_frames": 8}, r"clip_frames: found 8, expected 4n \+ 1"),
        ({"crop": 20}, "crop: found 20, expected a multiple of 8, at least 32"),
        ({"crop": 128}, "crop: found 128, expected no more than height and width"),
        ({"held_out": 1.0}, "held_out: found 1.0, expected between 0 and 1"),
        ({"warmup": 9_999}, "warmup: found 9999, expected fewer than steps"),
    ],
)
def test_invalid_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        CodecTrainingConfig(name="bad", **change)
