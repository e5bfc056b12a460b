"""A base by the front door, and a folder that we export, against diffusers: one clip, and one velocity."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_base import NETWORK, shared_base

from lct_jax.backbones.load import load_published, save_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.config.network import put
from lct_jax.directing.prompts import ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.generator import Generator
from lct_jax.layout import unpatchify
from lct_jax.model_files import open_model
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.window import SamplingScene
from lct_jax.seeds import make_key

# What other libraries warn of at import is theirs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SETTINGS = {"steps": 4, "frames": 5, "height": 32, "width": 48, "negative_shot": "the rain"}
# A shot that begins with a cut has a tag before its prompt, which the base does not know.
SINGLE = Script(None, (ShotPrompt("a dog in the rain", cut=False),))


def open_transformer(folder: Path) -> Any:
    """Returns diffusers' network, by the way that its users take; needs accelerate."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel.from_pretrained(folder, low_cpu_mem_usage=True).eval()


def predict(network: Any, latent: np.ndarray, text: np.ndarray, time: float) -> np.ndarray:
    """Returns diffusers' velocity of a clip [T X Y c], with the prompt padded to 512 tokens as its pipeline does."""
    import torch

    padded = np.zeros((1, 512, text.shape[1]), np.float32)
    padded[0, : len(text)] = text
    with torch.no_grad():
        made = network(
            hidden_states=torch.tensor(latent.transpose(3, 0, 1, 2)[None].copy()),
            timestep=torch.tensor([1000.0 * time]),
            encoder_hidden_states=torch.tensor(padded),
            return_dict=False,
        )[0]
    return made[0].numpy().transpose(1, 2, 3, 0)


def test_a_single_shot_is_the_clip_that_an_euler_loop_over_diffusers_gives():
    files = open_model(shared_base())
    config = put(files.meta.config, dtype="float32", kernel="chunked")
    generator = Generator(
        **files._replace(meta=dataclasses.replace(files.meta, config=config))._asdict()
    )
    scene = generator.sample(SINGLE, **SETTINGS)
    (shot,) = scene
    noise = SamplingScene(
        scene.request,
        scene.sampling,
        layout=config.layout,
        keeps_text=generator.spec.cache.keeps_text,
        key=make_key(0),
    ).draw_noise(0)
    latent = np.asarray(unpatchify(noise, scene.request.shots[0].grid, (1, 2, 2)), np.float32)
    network = open_transformer(shared_base() / "transformer")
    text, negative = generator.encoder.encode(["a dog in the rain", "the rain"])
    times = time_grid(4, config.sampling.shift)
    for time, after in itertools.pairwise(times):
        prompted, other = (predict(network, latent, x, time) for x in (text, negative))
        latent = latent + (after - time) * (other + 5.0 * (prompted - other))
    off = np.abs(shot.latent - latent).max() / np.abs(latent).max()
    # Errors of float32 add up over four steps, and guidance enlarges them.
    assert off < 2e-5


@pytest.mark.parametrize("shard_bytes", [2**30, 40_000])
def test_diffusers_loads_what_we_export_by_from_pretrained(tmp_path, shard_bytes):
    params = load_published(shared_base(), NETWORK, build_abstract(NETWORK).params)
    save_published(tmp_path / "transformer", params, NETWORK, shard_bytes=shard_bytes)
    index = tmp_path / "transformer/diffusion_pytorch_model.safetensors.index.json"
    assert index.exists() == (shard_bytes == 40_000)
    ours, theirs = (open_transformer(path / "transformer") for path in (tmp_path, shared_base()))
    tensors = theirs.state_dict()
    assert tensors.keys() == ours.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name].numpy(), err_msg=name)
    rng = np.random.default_rng(0)
    latent, text = rng.normal(size=(3, 4, 6, 2)).astype(np.float32), rng.normal(size=(9, 16))
    found, expected = (predict(network, latent, text, 0.3) for network in (ours, theirs))
    # torch adds in another order where memory is aligned differently.
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
