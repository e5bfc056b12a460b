"""A published pipeline as a base: its settings, its identity, and scenes sampled from it before it is tuned."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from published_base import NETWORK, SHIFT, shared_base

import lct_jax
from lct_jax.backbones.pipeline import check_weights, find_distilled, read_pipeline
from lct_jax.backbones.wan.usage import make_config
from lct_jax.config import WanConfig, freeze, read_beside
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.encoders.text_file import save_texts
from lct_jax.errors import InputError
from lct_jax.sampling.encode_script import list_texts

ROOT = Path(__file__).parents[1]
SETTINGS = {"steps": 2, "frames": 5, "height": 32, "width": 48}
SCENE = Script(
    GlobalPrompt(characters={}, environment="in the rain", story=""),
    (ShotPrompt("a dog"), ShotPrompt("the rain")),
)
SINGLE = Script(None, (ShotPrompt("a dog in the rain"),))


def test_the_settings_of_a_base_are_those_of_its_family_and_files():
    base = shared_base()
    config = read_pipeline(base)
    assert config == read_pipeline(base / "transformer")
    assert config.backbone == NETWORK.backbone
    assert (config.name, config.prepare.codec, config.prepare.encoder) == (
        "base",
        "wan_vae",
        "umt5",
    )
    assert (config.prepare.fps, config.sampling.guidance) == (16.0, 5.0)
    assert (config.flow.shift, config.sampling.shift) == (5.0, SHIFT)
    assert config.prepare.codec_from == str(base / "vae")
    assert config.prepare.encoder_from == str(base / "text_encoder")
    assert config.training.init_from == str(base)


@pytest.mark.parametrize("name", ["wan_1_3b", "wan_14b", "wan22_5b"])
def test_a_published_size_is_used_as_its_config_under_configs(name):
    config = freeze(read_beside(ROOT / f"configs/{name}.py", name).get_config())
    assert isinstance(config.backbone, WanConfig)
    made = make_config(config.backbone)
    for section in ("prepare", "layout", "flow", "sampling"):
        assert getattr(made, section) == getattr(config, section)
    for field in ("video_tokens", "text_tokens", "groups", "max_shots"):
        assert getattr(made.data, field) == getattr(config.data, field)


def test_the_identity_of_a_base_is_that_of_its_config_and_headers(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(shared_base(), base)
    identity = check_weights(base, NETWORK)
    assert identity == check_weights(shared_base() / "transformer", NETWORK)
    path = base / "transformer/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sample_rate": 1}))
    assert check_weights(base, NETWORK) != identity
    deeper = dataclasses.replace(NETWORK, backbone=dataclasses.replace(NETWORK.backbone, depth=3))
    with pytest.raises(InputError, match=r"missing: blocks\.2\."):
        check_weights(base, deeper)


def test_a_distilled_base_is_warned_of(tmp_path):
    assert find_distilled(shared_base()) == []
    base = tmp_path / "Wan-CausVid"
    (base / "transformer").mkdir(parents=True)
    (base / "scheduler").mkdir()
    (base / "scheduler/scheduler_config.json").write_text('{"_name_or_path": "x-Turbo"}')
    first, second = find_distilled(base)
    assert first.startswith(f"{base}: says 'causvid'")
    assert "scheduler_config.json: says 'turbo'" in second


def test_a_shift_that_is_no_number_is_refused(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(shared_base(), base)
    (base / "scheduler/scheduler_config.json").write_text('{"flow_shift": "large"}')
    with pytest.raises(InputError, match=r"scheduler_config\.json: flow_shift: found 'large'"):
        read_pipeline(base)


@pytest.mark.programs
def test_a_base_samples_single_shots_and_scenes_and_takes_encoded_texts(tmp_path):
    generator = lct_jax.load(shared_base())
    assert generator.meta.encoder.startswith("umt5-2x16-bfloat16:sha256:")
    alone = {shot.number: shot.latent for shot in generator.sample(SINGLE, **SETTINGS)}
    assert {number: latent.shape for number, latent in alone.items()} == {0: (2, 4, 6, 2)}
    # The weights of the encoder are gone before those of the network are read.
    assert generator.encoder._encoder is None
    scene = {shot.number: shot.latent for shot in generator.sample(SCENE, **SETTINGS)}
    assert {number: latent.shape for number, latent in scene.items()} == {
        0: (2, 4, 6, 2),
        1: (2, 4, 6, 2),
    }
    assert all(np.isfinite(latent).all() for latent in (*alone.values(), *scene.values()))

    path = tmp_path / "texts.safetensors"
    save_texts(path, generator.encoder, list_texts(SCENE, generator.config.sampling))
    known = lct_jax.load(shared_base(), texts=path)
    again = {shot.number: shot.latent for shot in known.sample(SCENE, **SETTINGS)}
    jax.tree.map(np.testing.assert_array_equal, again, scene)
    with pytest.raises(
        InputError, match=r"texts\.safetensors: no tokens of '\[SHOT CUT\] a dog in"
    ):
        known.sample(SINGLE, **SETTINGS)
    with pytest.raises(
        InputError, match=r"trained with training\.context 'full', expected 'causal'"
    ):
        known.sample(SCENE, mode="causal", **SETTINGS)
