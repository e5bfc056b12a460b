"""Tests the decoder of a patch codec's latents: it encodes alike, starts as the patch codec, and is saved whole."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_patch_codec import film
from test_tiny_vae import CONFIG as VAE

from lct_jax.codecs import train as program
from lct_jax.codecs.patch import PatchCodec, fit_patch_codec
from lct_jax.codecs.patch_decoder import PatchDecoder
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import describe_decoder, load_codec
from lct_jax.codecs.tiny_training import (
    CodecState,
    CodecTrainingConfig,
    init_state,
    make_latents_of,
    make_optimizer,
    make_step,
)
from lct_jax.codecs.tiny_vae import abstract_network
from lct_jax.errors import InputError
from lct_jax.generator import Generator
from lct_jax.tensors import name_leaves

CONFIG = dataclasses.replace(VAE, latents_of="patch.safetensors", pixel_depth=1)


@pytest.fixture(scope="module")
def patch() -> PatchCodec:
    return fit_patch_codec([film(9, 32, 48, seed=seed) for seed in range(3)], channels=6)


@pytest.fixture(scope="module")
def start(patch) -> CodecState:
    return init_state(CONFIG, patch, make_optimizer(CONFIG))


def to_codec(params, patch: PatchCodec) -> PatchDecoder:
    tensors = {name: np.asarray(leaf) for name, leaf in name_leaves(params).items()}
    return PatchDecoder(CONFIG.network, patch, tensors, credit="By us")


@pytest.fixture(scope="module")
def codec(start, patch) -> PatchDecoder:
    """Returns a decoder with random numbers everywhere, because branches that start at zero would hide mistakes."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + 0.05 * rng.normal(size=x.shape), start.params)
    return to_codec(params, patch)


def test_it_has_the_latents_of_the_patch_codec_and_starts_with_its_pictures(patch, start):
    video, untrained = film(9, 32, 48, seed=5), to_codec(start.params, patch)
    latent = patch.encode(video)
    np.testing.assert_array_equal(untrained.encode(video), latent)
    assert untrained.identity == patch.identity
    difference = untrained.decode(latent).astype(int) - patch.decode(latent)
    assert np.abs(difference).max() <= 1  # weights are kept in half precision


def test_training_sees_the_latents_that_the_patch_codec_makes(patch):
    video = film(9, 32, 48, seed=6)
    encode = make_latents_of(patch, noise=0.0)
    floats = jnp.asarray(video[None] / np.float32(127.5) - 1)
    latents, divergence = encode(None, floats, jax.random.key(0))
    np.testing.assert_allclose(latents[0], patch.encode(video), atol=1e-4)
    assert divergence is None
    noisy, _ = make_latents_of(patch, noise=0.5)(None, floats, jax.random.key(0))
    assert float(jnp.std(noisy - latents)) == pytest.approx(0.5, rel=0.1)


def test_no_frame_depends_on_later_latents(codec, patch):
    latent = patch.encode(film(9, 32, 48, seed=7))
    changed = latent.copy()
    changed[2] += 1.0
    one, other = codec.decode(latent), codec.decode(changed)
    assert one.shape == (9, 32, 48, 3)
    np.testing.assert_array_equal(one[:5], other[:5])
    assert (one[5:] != other[5:]).any()


def test_save_and_load(codec, patch, tmp_path):
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    loaded = load_codec(path, channels=6)
    assert isinstance(loaded, PatchDecoder)
    assert isinstance(loaded, VideoCodec)
    assert (loaded.identity, loaded.decoder) == (patch.identity, codec.decoder)
    video = film(5, 32, 48)
    latent = codec.encode(video)
    np.testing.assert_array_equal(loaded.encode(video), latent)
    np.testing.assert_array_equal(loaded.decode(latent), codec.decode(latent))
    with pytest.raises(InputError, match="found 6 channels, expected 16"):
        load_codec(path, channels=16)
    patch.save(path)
    with pytest.raises(InputError, match="found codec 'patch', expected 'patch_decoder'"):
        PatchDecoder.load(path, channels=6)


def test_what_was_sampled_says_which_weights_decoded(codec, patch, start):
    """Models take either codec, since latents are equal; pictures differ, and are told apart by their decoder."""
    assert describe_decoder(patch) == {}
    assert describe_decoder(codec) == {"decoder": codec.decoder}
    assert codec.decoder != to_codec(start.params, patch).decoder
    config = SimpleNamespace(network=None)
    encoder = SimpleNamespace(identity="words")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lct_jax.generator.describe", lambda network: None)
        made = Generator(SimpleNamespace(config=config), None, codec=codec, encoder=encoder)
    assert made.identify() == {
        **{"weights": "", "codec": patch.identity},
        **{"decoder": codec.decoder, "encoder": "words"},
    }


@pytest.fixture
def drawn(patch, tmp_path, monkeypatch) -> CodecTrainingConfig:
    """Returns a run on drawn scenes; the metric, whose weights are not installed with the tests, is another one."""
    distance = lambda a, b: jnp.abs(a - b).mean(axis=(1, 2, 3))
    monkeypatch.setattr(program, "load_lpips", lambda network, *, folder: distance)
    patch.save(tmp_path / "patch.safetensors")
    return dataclasses.replace(
        CONFIG, world="puppets", shots=20, height=32, width=32, held_out=0.2, batch=2, steps=2,
        warmup=1, save_every=1, log_every=1, latents_of=str(tmp_path / "patch.safetensors"),
    )  # fmt: skip


def test_shots_are_drawn_from_a_world(drawn):
    train, held_out, credit = program.read_shots(drawn)
    assert (len(train), len(held_out), credit) == (16, 4, "")
    again = program.read_shots(drawn)[0]
    assert all((one == other).all() for one, other in zip(train, again, strict=True))
    assert {shot.shape[1:] for shot in train} == {(32, 32, 3)}


@pytest.mark.slow
def test_a_killed_run_goes_on_and_writes_a_decoder(drawn, patch, tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    assert program.train(drawn, whole) == whole / "decoder.safetensors"

    class Killed(Exception):
        pass

    def stop(*arguments, save=program.save_state):
        save(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(program, "save_state", stop)
        with pytest.raises(Killed):
            program.train(drawn, halves)
    one, other = (load_codec(program.train(drawn, f), channels=6) for f in (whole, halves))
    assert (one.identity, one.decoder) == (patch.identity, other.decoder)
    assert "kl" not in (halves / "log.jsonl").read_text()


@pytest.mark.slow
def test_training_brings_the_error_down(start, patch):
    graph, _ = abstract_network(CONFIG.network)
    lpips = lambda a, b: jnp.square(a - b).mean(axis=(1, 2, 3))
    encode = make_latents_of(patch, noise=0.05)
    step = jax.jit(make_step(graph, CONFIG, make_optimizer(CONFIG), lpips, encode=encode))
    clips = np.stack([film(5, 32, 32, seed=seed) for seed in range(2)]) / np.float32(127.5) - 1
    state, errors = start, []
    for _ in range(CONFIG.steps):
        state, metrics = step(state, clips, jax.random.key(0))
        errors.append(float(metrics["error"]))
    assert np.mean(errors[-5:]) < 0.8 * np.mean(errors[:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 0}, "shots: found 0, expected at least 1"),
        ({"init_from": "x"}, "init_from: found x, expected nothing beside latents_of"),
    ],
)
def test_invalid_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(CONFIG, **change)
