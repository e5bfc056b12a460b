"""Tests the Wan VAE without its reference: chunks, causality, sharding, tiles, strict files."""

from __future__ import annotations

import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from lct_jax.codecs.causal_conv import Past, convolve
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import import_codec, load_codec
from lct_jax.codecs.tiling import Tiling, apply_in_tiles, tile_starts
from lct_jax.codecs.wan_layers import FrameConv
from lct_jax.codecs.wan_network import WanConfig
from lct_jax.codecs.wan_single_file import PUBLISHED, name_of_authors
from lct_jax.codecs.wan_vae import WanVAE, abstract_network, fill_network, published_shapes
from lct_jax.distributed.sharding import make_mesh
from lct_jax.errors import InputError

CONFIG = WanConfig(
    base_dim=4,
    z_dim=2,
    dim_mult=(1, 2, 2, 2),
    num_res_blocks=1,
    latents_mean=(0.5, -1.0),
    latents_std=(2.0, 0.5),
)


def draw_tensors(config: WanConfig = CONFIG) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in published_shapes(config).items()
    }


def draw_video(frames: int = 9, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (frames, height, width, 3), np.uint8)


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


def test_a_video_in_chunks_equals_the_whole_video():
    """The chunks have any lengths: the first one has one frame or more, and others have four and eight.

    They agree up to rounding, because the number of frames in a chunk decides how products are summed (`winograd.py`).

    To rounding: how many frames come at a time decides how their products are summed (`winograd.py`).
    """
    video = jax.random.uniform(jax.random.key(0), (1, 9, 16, 16, 3), minval=-1)
    graph, params = fill_network(CONFIG, draw_tensors())

    @jax.jit
    def encode(x, slots):
        past = Past(slots)
        return nnx.merge(graph, params).encode(x, past)[0], past.slots()

    @jax.jit
    def decode(x, slots):
        past = Past(slots)
        return nnx.merge(graph, params).decode(x, past), past.slots()

    latent, _ = encode(video, None)
    first, slots = encode(video[:, :5], None)
    second, _ = encode(video[:, 5:], slots)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), latent, atol=1e-5)
    whole, _ = decode(latent, None)
    assert whole.shape == video.shape
    first, slots = decode(latent[:, :1], None)
    second, _ = decode(latent[:, 1:], slots)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-5)
    assert whole.std() > 1e-3


@pytest.mark.parametrize(
    ("frames", "dtype"), [(2, "float32"), (4, "float32"), (7, "float32"), (4, "bfloat16")]
)
def test_convolution_by_fewer_products_equals_convolution(frames, dtype):
    """The reference is XLA's own 3D convolution of whole numbers, so that bfloat16 rounds results alone; 7 is 4 and 2
    and 1."""
    keys = jax.random.split(jax.random.key(frames))
    shapes = (2, frames + 2, 4, 5, 3), (3, 3, 3, 3, 2)
    x, kernel = (
        jax.random.randint(key, shape, -2, 3).astype(dtype)
        for key, shape in zip(keys, shapes, strict=True)
    )
    expected = jax.lax.conv_general_dilated(
        x.astype("float32"),
        kernel.astype("float32"),
        (1, 1, 1),
        [(0, 0), (1, 1), (1, 1)],
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )
    found = convolve(x, kernel)
    assert (found.shape, found.dtype) == ((2, frames, 4, 5, 2), dtype)
    tolerance = 2e-5 if dtype == "float32" else 0.5  # bfloat16 keeps eight bits of sums up to 60
    np.testing.assert_allclose(found.astype("float32"), expected, atol=tolerance)
    assert expected.std() > 5


def test_four_frames_take_six_products_and_not_twelve():
    x, kernel = jnp.zeros((1, 6, 8, 8, 2)), jnp.zeros((3, 3, 3, 2, 2))
    count = lambda x: str(jax.make_jaxpr(convolve)(x, kernel)).count("conv_general_dilated[")
    assert count(x) == 6
    assert count(x[:, :4]) == 4
    assert count(x[:, :3]) == 3


def test_no_frame_depends_on_later_frames(vae):
    video = draw_video()
    changed = video.copy()
    changed[5:] = 255 - changed[5:]
    one, other = vae.encode(video), vae.encode(changed)
    np.testing.assert_array_equal(one[:2], other[:2])
    assert np.abs(one[2] - other[2]).max() > 1e-2
    assert np.abs(vae.decode(one)[5:].astype(int) - vae.decode(other)[5:]).max() > 0


def test_latents_are_normalised_by_the_published_statistics(vae):
    video = draw_video(frames=1)
    floats = vae.encode_floats(video / np.float32(127.5) - 1)
    np.testing.assert_allclose(vae.encode(video) * [2.0, 0.5] + [0.5, -1.0], floats, atol=1e-5)
    made = np.rint((vae.decode_floats(floats) + 1) * 127.5)
    np.testing.assert_allclose(vae.decode(vae.encode(video)), made, atol=1)


def test_enlarging_by_four_taps_equals_nine_taps():
    conv = FrameConv(3, 4, 3, rngs=nnx.Rngs(0))
    conv.bias.set_value(jnp.arange(4.0))
    x = jax.random.normal(jax.random.key(1), (1, 2, 3, 5, 3))
    enlarged = x.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_allclose(conv.double(x), conv(enlarged), atol=1e-6)


def test_memory_between_chunks_at_the_published_size():
    """The memory at 480x832, whatever the length, is 2 frames for each causal convolution, in float32.

    Features at 60x104, 120x208, 240x416 and 480x832, by hand: 4240, 2496, 1152 and 672; times 2 frames of 4 bytes.
    """
    graph, params = abstract_network(WanConfig())

    def decode(params, latent, slots):
        past = Past(slots)
        return nnx.merge(graph, params).decode(latent, past), past.slots()

    latent = jax.ShapeDtypeStruct((1, 1, 60, 104, 16), jnp.float32)
    video, first = jax.eval_shape(lambda p, x: decode(p, x, None), params, latent)
    assert video.shape == (1, 1, 480, 832, 3)
    video, later = jax.eval_shape(decode, params, latent, first)
    assert video.shape == (1, 4, 480, 832, 3)
    sizes = [sum(slot.size * 4 for slot in slots) for slots in (first, later)]
    assert sizes[0] == sizes[1] == 3_777_146_880
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 126_892_531


def test_sharding_over_the_mesh_does_not_change_results(vae):
    latent = np.random.default_rng(3).normal(size=(1, 2, 8, 2)).astype(np.float32)
    alone = vae.decode_floats(latent)
    with jax.set_mesh(make_mesh(seq=2)):
        spread = WanVAE(CONFIG, draw_tensors())
        step, _ = spread._decode(latent[None, :1], None)
        np.testing.assert_allclose(spread.decode_floats(latent), alone, atol=2e-5)
    assert len(step.sharding.device_set) == 8
    assert not step.sharding.is_fully_replicated


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


def test_tiles_cover_a_picture():
    assert tile_starts(60, Tiling(side=32, overlap=8)) == [0, 14, 28]
    assert tile_starts(32, Tiling(side=32, overlap=8)) == [0]
    assert tile_starts(20, Tiling(side=32, overlap=8)) == [0]
    assert tile_starts(33, Tiling(side=32, overlap=8)) == [0, 1]


def test_tiles_of_a_pointwise_function_equal_the_whole():
    x = np.random.default_rng(0).normal(size=(2, 13, 9, 3)).astype(np.float32)

    def enlarge(part):
        return part.repeat(8, axis=1).repeat(8, axis=2) ** 2

    made = apply_in_tiles(enlarge, x, Tiling(side=5, overlap=2), unit_in=1, unit_out=8)
    np.testing.assert_allclose(made, enlarge(x), atol=1e-5)
    shrink = lambda part: part[:, ::8, ::8]
    again = apply_in_tiles(shrink, made, Tiling(side=5, overlap=2), unit_in=8, unit_out=1)
    np.testing.assert_allclose(again, x**2, atol=1e-5)


def test_tiles_of_a_vae_approximate_the_whole_picture(vae):
    """Attention sees one tile alone, so numbers differ, but by less than the picture varies."""
    tiled = WanVAE(CONFIG, draw_tensors(), tiling=Tiling(side=4, overlap=2))
    latent = np.random.default_rng(3).normal(size=(1, 2, 6, 2)).astype(np.float32)
    one, other = vae.decode(latent).astype(float), tiled.decode(latent).astype(float)
    assert one.shape == other.shape
    assert 0 < np.abs(one - other).mean() < 0.3 * one.std()
