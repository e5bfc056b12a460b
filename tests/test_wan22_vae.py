"""Tests what is Wan 2.2's own in its VAE: shortcuts, patches of pixels, names, and files that are not mixed up."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from lct_jax.codecs.causal_conv import Past
from lct_jax.codecs.registry import find_stride, import_codec, load_codec
from lct_jax.codecs.tiling import Tiling
from lct_jax.codecs.wan22_vae import Wan22VAE
from lct_jax.codecs.wan_layers import average_down, fold_pixels, repeat_up, unfold_pixels
from lct_jax.codecs.wan_network import WanConfig
from lct_jax.codecs.wan_single_file import PUBLISHED_22, name_of_authors
from lct_jax.codecs.wan_vae import WanVAE, fill_network, published_shapes
from lct_jax.errors import InputError

CONFIG = WanConfig(
    base_dim=4,
    decoder_base_dim=6,
    z_dim=3,
    dim_mult=(1, 2, 2, 2),
    num_res_blocks=1,
    is_residual=True,
    patch_size=2,
    latents_mean=(0.5, -1.0, 0.0),
    latents_std=(2.0, 0.5, 1.0),
)


def draw_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in published_shapes(CONFIG).items()
    }


@pytest.fixture(scope="module")
def vae() -> Wan22VAE:
    return Wan22VAE(CONFIG, draw_tensors())


@pytest.fixture
def folder(tmp_path) -> Path:
    """Writes weights as diffusers saves them."""
    save_file(draw_tensors(), tmp_path / "diffusion_pytorch_model.safetensors")
    sizes = {name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__}
    config = {"_class_name": "AutoencoderKLWan", **sizes, **Wan22VAE.version, "clip_output": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_names_and_shapes_are_those_of_the_published_vae():
    """The list was read off diffusers' AutoencoderKLWan in the sizes of Wan2.2-TI2V-5B."""
    lines = (Path(__file__).parent / "published" / "wan22_vae.txt").read_text().splitlines()
    shapes = published_shapes(PUBLISHED_22)
    assert sorted(f"{name} {list(shape)}" for name, shape in shapes.items()) == sorted(lines)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 704_688_668
    assert len({name_of_authors(name, PUBLISHED_22) for name in shapes}) == len(shapes) == 196


def test_a_shortcut_down_averages_places_and_channels():
    """Two frames, two rows and two columns of two channels, to one place of four channels: means of four numbers."""
    x = jnp.arange(16.0).reshape(1, 2, 2, 2, 2)
    found = average_down(x, 4, times=2, sides=2)
    # Channel 0 is 0, 2, 4, 6 in the first frame and 8, 10, 12, 14 in the second one; channel 1 is one more.
    assert found.tolist() == [[[[[3.0, 11.0, 4.0, 12.0]]]]]


def test_at_the_start_of_a_video_a_shortcut_down_has_zeros_before_it():
    x = jnp.full((1, 3, 2, 2, 1), 8.0)
    assert average_down(x, 1, times=2, sides=2)[0, :, 0, 0, 0].tolist() == [4.0, 8.0]
    assert average_down(x, 1, times=1, sides=2)[0, :, 0, 0, 0].tolist() == [8.0, 8.0, 8.0]
    assert average_down(x, 1, times=1, sides=1).shape == (1, 3, 2, 2, 1)


def test_a_shortcut_up_repeats_and_leaves_the_first_frame_alone():
    """Four channels to two: each of them fills one of two frames of a new channel."""
    x = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 1, 4)
    found = repeat_up(x, 2, times=2, sides=2, at_start=False)
    assert found.shape == (1, 2, 2, 2, 2)
    assert found[0, :, 1, 0].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    first = repeat_up(x, 2, times=2, sides=2, at_start=True)
    assert first[0, :, 0, 1].tolist() == [[2.0, 4.0]]


def test_pixels_are_folded_colour_by_colour_and_columns_before_rows():
    video = jnp.arange(12).reshape(1, 1, 2, 2, 3)
    folded = fold_pixels(video, 2)
    assert folded.ravel().tolist() == [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11]
    assert unfold_pixels(folded, 2).tolist() == video.tolist()


@pytest.mark.slow
def test_a_video_in_chunks_equals_the_whole_video(vae):
    """To rounding, which differs with the length of a chunk (`winograd.py`)."""
    graph, params = fill_network(CONFIG, draw_tensors())
    network = nnx.merge(graph, params)
    video = np.random.default_rng(1).uniform(-1, 1, (9, 16, 32, 3)).astype(np.float32)
    latent = vae.encode_floats(video)
    whole = jax.jit(lambda x: network.encode(x, Past(None))[0])(video[None])[0]
    np.testing.assert_allclose(latent, whole, atol=1e-5)
    assert latent.shape == (3, 1, 2, 3)
    made = vae.decode_floats(latent)
    whole = jax.jit(lambda x: network.decode(x, Past(None)))(latent[None])[0]
    np.testing.assert_allclose(made, whole, atol=1e-5)
    assert made.shape == video.shape
    assert made.std() > 1e-3


@pytest.mark.slow
def test_sizes_statistics_and_tiles(vae, monkeypatch):
    video = np.random.default_rng(1).integers(0, 256, (1, 16, 32, 3), np.uint8)
    latent = vae.encode(video)
    assert latent.shape == (1, 1, 2, 3)
    assert vae.decode(latent).shape == video.shape
    floats = vae.encode_floats(video / np.float32(127.5) - 1)
    np.testing.assert_allclose(latent * CONFIG.latents_std + CONFIG.latents_mean, floats, atol=1e-5)
    with pytest.raises(InputError, match="found 24x32 pixels, expected multiples of 16"):
        vae.encode(np.zeros((1, 24, 32, 3), np.uint8))
    monkeypatch.setattr(vae, "_tiling", Tiling(side=2, overlap=1))  # tiles of a compiled size
    assert vae.encode(video[:, :, :16].repeat(3, axis=2)).shape == (1, 1, 3, 3)


def test_save_and_load(vae, tmp_path, folder):
    assert find_stride("wan22_vae") == (4, 16, 16)
    vae.save(tmp_path / "codec.safetensors")
    saved = load_codec(tmp_path / "codec.safetensors", channels=3)
    published = import_codec("wan22_vae", folder, channels=3)
    assert isinstance(saved, Wan22VAE)
    assert vae.identity.startswith("wan-vae-4x16x16x3:sha256:")
    assert saved.identity == published.identity == vae.identity


def test_one_file_under_the_names_of_the_authors(vae, tmp_path, monkeypatch):
    monkeypatch.setattr(Wan22VAE, "published", CONFIG)
    path = tmp_path / "wan2.2_vae.safetensors"
    save_file({name_of_authors(n, CONFIG): tensor for n, tensor in draw_tensors().items()}, path)
    assert import_codec("wan22_vae", path, channels=3).identity == vae.identity


def test_versions_refuse_the_files_of_one_another(vae, tmp_path, folder):
    with pytest.raises(InputError, match=r"is_residual: found True, .* wan22_vae for Wan 2\.2"):
        WanVAE.load(folder, channels=3)
    vae.save(tmp_path / "codec.safetensors")
    with pytest.raises(InputError, match="found codec 'wan22_vae', expected 'wan_vae'"):
        WanVAE.load(tmp_path / "codec.safetensors", channels=3)
    config = json.loads((folder / "config.json").read_text())
    for name in Wan22VAE.version:
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="is_residual: found False, expected True"):
        Wan22VAE.load(folder, channels=3)


@pytest.mark.parametrize(
    ("name", "authors"),
    [
        ("quant_conv.weight", "conv1.weight"),
        ("encoder.conv_in.bias", "encoder.conv1.bias"),
        ("encoder.down_blocks.0.resnets.1.norm1.gamma", "encoder.downsamples.0.downsamples.1.residual.0.gamma"),
        ("encoder.down_blocks.1.resnets.0.conv_shortcut.bias", "encoder.downsamples.1.downsamples.0.shortcut.bias"),
        ("encoder.down_blocks.0.downsampler.resample.1.bias", "encoder.downsamples.0.downsamples.2.resample.1.bias"),
        ("encoder.down_blocks.2.downsampler.time_conv.bias", "encoder.downsamples.2.downsamples.2.time_conv.bias"),
        ("encoder.mid_block.resnets.1.conv2.bias", "encoder.middle.2.residual.6.bias"),
        ("decoder.up_blocks.3.resnets.2.conv1.weight", "decoder.upsamples.3.upsamples.2.residual.2.weight"),
        ("decoder.up_blocks.1.upsampler.time_conv.weight", "decoder.upsamples.1.upsamples.3.time_conv.weight"),
        ("decoder.up_blocks.2.upsampler.resample.1.bias", "decoder.upsamples.2.upsamples.3.resample.1.bias"),
        ("decoder.conv_out.weight", "decoder.head.2.weight"),
    ],
)  # fmt: skip
def test_names_of_the_authors(name, authors):
    """The names are those of the authors' wan/modules/vae2_2.py and of diffusers' own conversion."""
    assert name_of_authors(name, PUBLISHED_22) == authors
