"""Tests the training of the small VAE from a film: held-out footage, batches, and resuming."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_film

from lct_jax.cli import load_config
from lct_jax.codecs import train as program
from lct_jax.codecs.registry import load_codec
from lct_jax.codecs.tiny_training import CodecTrainingConfig
from lct_jax.codecs.trained import VAE_FILE
from lct_jax.config import freeze
from lct_jax.data.scene_file import load_scene_file
from lct_jax.errors import InputError

CONFIG = CodecTrainingConfig(
    name="tiny",
    height=32,
    width=48,
    crop=32,
    channels=6,
    blocks_width=8,
    blocks_depth=1,
    fine_width=8,
    fine_depth=1,
    clip_frames=5,
    batch=2,
    steps=4,
    warmup=1,
    save_every=2,
    log_every=2,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> CodecTrainingConfig:
    film = tiny_film.make_tiny_film(tmp_path_factory.mktemp("film"))
    return dataclasses.replace(CONFIG, scenes=str(film.scenes))


@pytest.fixture
def no_lpips(monkeypatch):
    """Replaces the metric, whose weights are not installed with the tests."""
    monkeypatch.setattr(
        program,
        "load_lpips",
        lambda network, *, folder: lambda a, b: jnp.abs(a - b).mean(axis=(1, 2, 3)),
    )


def test_the_end_of_the_story_is_held_out(config):
    """The 95 annotated frames lie in shots of 20, 13, 17, 8, 21 and 16: the last third begins in the fifth."""
    annotated = load_scene_file(config.scenes)
    assert program.find_story_end(annotated, 1 / 3) == 81
    assert program.find_story_end(annotated, 0.6) == 50 + 2
    train, held_out, credit = program.read_shots(config)
    assert [len(shot) for shot in train] == [20, 13, 17, 8, 21]
    assert [len(shot) for shot in held_out] == [16]
    assert credit == "Tiny by us, CC0"


def test_a_batch_follows_from_seed_and_step(config):
    shots = program.read_shots(config)[0]
    clips = program.draw_clips(shots, config, 3)
    assert (clips.shape, clips.dtype) == ((2, 5, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(clips, program.draw_clips(shots, config, 3))
    assert (clips != program.draw_clips(shots, config, 4)).any()
    assert (clips != program.draw_clips(shots, dataclasses.replace(config, seed=1), 3)).any()
    stills = program.draw_clips(shots, dataclasses.replace(config, stills=1.0), 3)
    np.testing.assert_array_equal(stills, stills[:, :1].repeat(5, axis=1))


@pytest.mark.slow
def test_resumed_training_equals_uninterrupted_training(config, tmp_path, no_lpips):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    program.train(config, whole)

    class Killed(Exception):
        pass

    def stop(folder, state, config, save=program.save_state):
        save(folder, state, config)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "save_state", stop)
        with pytest.raises(Killed):
            program.train(config, halves)
    program.train(config, halves)
    one, other = (read_all(folder / program.STATE_FILE) for folder in (whole, halves))
    assert one["step"] == 4
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert [json.loads(x)["step"] for x in (halves / "log.jsonl").read_text().splitlines()] == [
        2,
        4,
    ]
    codec, again = (load_codec(f / VAE_FILE, channels=6) for f in (whole, halves))
    assert codec.identity == again.identity
    latents = np.concatenate(
        [codec.encode(shot[:5]).reshape(-1, 6) for shot in program.read_shots(config)[0]]
    )
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=0.02)
    assert np.square(latents).mean() == pytest.approx(1, abs=0.02)
    with pytest.raises(InputError, match=r"wrong shape: .* instead of"):
        program.train(dataclasses.replace(config, blocks_width=16), whole)


def read_all(path):
    from safetensors.numpy import load_file

    return load_file(path)


def test_the_shipped_config_is_valid_and_has_its_command():
    path = tiny_film.ROOT / "configs/codecs/film_vae.py"
    config = freeze(load_config(str(path)), CodecTrainingConfig)
    assert config.name == "film_vae"
    assert (tiny_film.ROOT / config.scenes).is_file()
    assert "lct_jax.codecs.train --config=configs/codecs/film_vae.py" in path.read_text()
