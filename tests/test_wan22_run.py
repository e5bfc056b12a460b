"""Bases with a time of their own from pre-training: published files to a scene model and out again, by the programs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from published_base import NETWORK, SHIFT, write_base
from test_wan22_vae import CONFIG as VAE_22
from test_wan_run import SCRIPT
from test_wan_vae import CONFIG as VAE_21
from tiny_film import CONFIG, make_tiny_film, run_program, write_config

import lct_jax
from lct_jax.backbones.load import load_published, read_backbone
from lct_jax.backbones.pipeline import read_pipeline
from lct_jax.backbones.registry import build_abstract
from lct_jax.codecs.wan22_vae import Wan22VAE
from lct_jax.codecs.wan_network import WanConfig as VAEConfig
from lct_jax.codecs.wan_vae import WanVAE
from lct_jax.config import Config, NetworkConfig
from lct_jax.config.network import change
from lct_jax.tensors import name_leaves

pytestmark = pytest.mark.slow

CHANNELS = 48  # by which the codec of Wan 2.2 is known


class Base(NamedTuple):
    """A small base, and what is to be found of it.

    Attributes:
        network, vae, version: what is written. codec: its name here. shift, guidance: with which it is sampled.
        side: rows and columns of pixels of a latent position.
    """

    network: NetworkConfig
    vae: VAEConfig
    version: Any
    codec: str
    shift: float
    guidance: float
    side: int


BASES = {
    "wan22_5b": Base(
        change(NETWORK, channels=CHANNELS),
        dataclasses.replace(
            VAE_22, z_dim=CHANNELS, latents_mean=(0.0,) * CHANNELS, latents_std=(1.0,) * CHANNELS
        ),
        Wan22VAE.version,
        "wan22_vae",
        SHIFT,
        5.0,
        16,
    ),
    "skyreels_v2_1_3b": Base(
        change(NETWORK, release="skyreels_v2", fps=24),
        VAE_21,
        WanVAE.version,
        "wan_vae",
        SHIFT,
        6.0,
        8,
    ),
}


def make_small(config: Config, side: int) -> Config:
    """Returns the settings of a base with sizes and steps for a test: shots of 3 x 4 x 6 latent positions."""
    size = {"height": 4 * side, "width": 6 * side}
    return dataclasses.replace(
        config,
        prepare=dataclasses.replace(config.prepare, max_frames=9, clips=2, stills=2, **size),
        compute=dataclasses.replace(config.compute, dtype="float32", remat="none"),
        data=dataclasses.replace(CONFIG.data, text_tokens=768),
        training=dataclasses.replace(
            CONFIG.training, context="causal", steps=4, init_from=config.training.init_from
        ),
        sampling=dataclasses.replace(config.sampling, steps=2, frames=9, **size),
    )


@pytest.mark.parametrize("name", BASES)
def test_a_base_is_prepared_for_tuned_sampled_and_published_again(name, tmp_path: Path):
    base = BASES[name]
    write_base(tmp_path / "base", base.network, base.vae, base.version)
    config = read_pipeline(tmp_path / "base")
    assert config.backbone == base.network.backbone
    assert (config.prepare.codec, config.prepare.fps) == (base.codec, 24.0)
    assert (config.sampling.shift, config.sampling.guidance) == (base.shift, base.guidance)

    config = make_small(config, base.side)
    write_config(tmp_path / "small.py", config)
    film, run = make_tiny_film(tmp_path), tmp_path / "run"
    result = run_program(
        "-m",
        "lct_jax.data.prepare",
        f"--scenes={film.scenes}",
        f"--config={tmp_path / 'small.py'}",
        f"--out={tmp_path / 'set'}",
    )
    assert result.code == 0, result.stderr
    card = json.loads((tmp_path / "set" / "card.json").read_text())
    assert (card["fps"], card["channels"]) == (24.0, base.vae.z_dim)
    arguments = [f"--config={tmp_path / 'small.py'}", f"--data={tmp_path / 'set'}"]
    result = run_program("train.py", *arguments, f"--workdir={run}")
    assert result.code == 0, result.stderr
    assert "(published weights)" in result.stdout

    out = tmp_path / "out"
    export = ["-m", "lct_jax.export", f"--checkpoint={run}", f"--out={out}", "--layout=diffusers"]
    result = run_program(*export)
    assert result.code == 0, result.stderr
    assert read_backbone(out) == config.backbone
    before, after = (
        name_leaves(load_published(folder, config.network, build_abstract(config.network).params))
        for folder in (tmp_path / "base", out)
    )
    changed = "blocks.cross.q.kernel"
    assert np.abs(np.asarray(after[changed]) - np.asarray(before[changed])).max() > 1e-5

    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    generator = lct_jax.load(run)
    for mode in ("joint", "autoregressive", "causal"):
        scene = generator.sample(tmp_path / "script.json", mode=mode)
        shots = {shot.number: shot for shot in scene}
        latents = [shots[number].latent for number in range(2)]
        assert [x.shape for x in latents] == [(t, 4, 6, base.vae.z_dim) for t in (3, 2)]
        assert all(np.isfinite(latent).all() for latent in latents)
    assert shots[1].frames.shape == (5, 4 * base.side, 6 * base.side, 3)
