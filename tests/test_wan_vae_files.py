"""Files of the Wan VAE: what is saved and loaded, the names of its authors, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_wan_vae import CONFIG, draw_tensors

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import import_codec, load_codec
from lct_jax.codecs.wan_single_file import PUBLISHED, name_of_authors
from lct_jax.codecs.wan_vae import WanVAE, published_shapes
from lct_jax.errors import InputError


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return WanVAE(CONFIG, draw_tensors())


@pytest.fixture
def folder(tmp_path):
    """Writes weights as diffusers saves them."""
    save_file(draw_tensors(), tmp_path / "diffusion_pytorch_model.safetensors")
    config = {"_class_name": "AutoencoderKLWan", "attn_scales": [], **asdict(CONFIG)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_save_and_load(vae, tmp_path, folder):
    vae.save(tmp_path / "codec.safetensors")
    saved = load_codec(tmp_path / "codec.safetensors", channels=2)
    published = import_codec("wan_vae", folder, channels=2)
    assert isinstance(saved, VideoCodec)
    assert vae.identity.startswith("wan-vae-4x8x8x2:sha256:")
    assert saved.identity == published.identity == vae.identity
    for name, tensor in published._tensors.items():
        np.testing.assert_array_equal(tensor, saved._tensors[name])


@pytest.mark.parametrize("named", [lambda n: n, lambda n: name_of_authors(n, CONFIG)])
def test_one_file_without_a_config_is_the_same_vae(vae, tmp_path, monkeypatch, named):
    monkeypatch.setattr(WanVAE, "published", CONFIG)
    path = tmp_path / "wan_2.1_vae.safetensors"
    save_file({named(name): tensor for name, tensor in draw_tensors().items()}, path)
    assert import_codec("wan_vae", path, channels=2).identity == vae.identity


@pytest.mark.parametrize(
    ("name", "authors"),
    [
        ("quant_conv.weight", "conv1.weight"),
        ("post_quant_conv.bias", "conv2.bias"),
        ("encoder.conv_in.weight", "encoder.conv1.weight"),
        ("decoder.conv_in.bias", "decoder.conv1.bias"),
        ("encoder.norm_out.gamma", "encoder.head.0.gamma"),
        ("decoder.conv_out.weight", "decoder.head.2.weight"),
        ("encoder.down_blocks.0.norm1.gamma", "encoder.downsamples.0.residual.0.gamma"),
        ("encoder.down_blocks.3.conv1.weight", "encoder.downsamples.3.residual.2.weight"),
        ("encoder.down_blocks.3.conv_shortcut.bias", "encoder.downsamples.3.shortcut.bias"),
        ("encoder.down_blocks.2.resample.1.bias", "encoder.downsamples.2.resample.1.bias"),
        ("encoder.down_blocks.5.time_conv.bias", "encoder.downsamples.5.time_conv.bias"),
        ("encoder.mid_block.resnets.0.norm2.gamma", "encoder.middle.0.residual.3.gamma"),
        ("decoder.mid_block.resnets.1.conv2.bias", "decoder.middle.2.residual.6.bias"),
        ("decoder.mid_block.attentions.0.to_qkv.bias", "decoder.middle.1.to_qkv.bias"),
        ("decoder.up_blocks.0.resnets.2.conv1.bias", "decoder.upsamples.2.residual.2.bias"),
        ("decoder.up_blocks.1.resnets.0.conv_shortcut.bias", "decoder.upsamples.4.shortcut.bias"),
        ("decoder.up_blocks.3.resnets.2.norm1.gamma", "decoder.upsamples.14.residual.0.gamma"),
        ("decoder.up_blocks.0.upsamplers.0.time_conv.bias", "decoder.upsamples.3.time_conv.bias"),
        ("decoder.up_blocks.2.upsamplers.0.resample.1.bias", "decoder.upsamples.11.resample.1.bias"),
    ],
)  # fmt: skip
def test_names_of_the_authors(name, authors):
    """The names are those of the authors' wan/modules/vae.py and of diffusers' own conversion."""
    assert name_of_authors(name, PUBLISHED) == authors


def test_the_published_vae_in_one_file():
    shapes = published_shapes(PUBLISHED)
    assert len(shapes) == 194
    assert len({name_of_authors(name, PUBLISHED) for name in shapes}) == 194
    assert (len(PUBLISHED.latents_mean), len(PUBLISHED.latents_std)) == (16, 16)
    assert (PUBLISHED.latents_mean[0], PUBLISHED.latents_std[-1]) == (-0.7571, 1.9160)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("quant_conv.bias"), "missing: quant_conv.bias"),
        (lambda t: t.update(new=np.zeros(1)), "unexpected: new"),
        (
            lambda t: t.update({"quant_conv.bias": np.zeros(5, np.float32)}),
            r"wrong shape: quant_conv.bias \(5,\) instead of \(4,\)",
        ),
        (
            lambda t: t.update({"quant_conv.bias": np.zeros(4, np.int32)}),
            "wrong dtype: quant_conv.bias I32",
        ),
    ],
)
def test_weights_that_differ_are_named(folder, change, message):
    tensors = draw_tensors()
    change(tensors)
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match=message):
        WanVAE.load(folder, channels=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_residual": True}, "is_residual: found True, expected False"),
        ({"_class_name": "AutoencoderKL"}, "_class_name: found 'AutoencoderKL', expected"),
        ({"latents_mean": [0.0]}, "latents_mean: found 1 numbers, expected 2"),
        ({"patch_size": 2}, "patch_size: found 2, expected None .*wan22_vae for Wan 2.2"),
    ],
)
def test_other_architectures_are_refused(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        WanVAE.load(folder, channels=2)


def test_channels_of_another_model_are_refused(folder):
    with pytest.raises(InputError, match="found 2 channels, expected 16"):
        WanVAE.load(folder, channels=16)
