"""Tests the Wan VAE without its reference: chunks, causality, sharding, tiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lct_jax.codecs.causal_conv import Past, convolve
from lct_jax.codecs.tiling import Tiling, apply_in_tiles, tile_starts
from lct_jax.codecs.wan_layers import FrameConv
from lct_jax.codecs.wan_network import WanConfig
from lct_jax.codecs.wan_vae import WanVAE, abstract_network, fill_network, published_shapes
from lct_jax.distributed.sharding import make_mesh

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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_sharding_over_the_mesh_does_not_change_results(vae):
    latent = np.random.default_rng(3).normal(size=(1, 2, 8, 2)).astype(np.float32)
    alone = vae.decode_floats(latent)
    with jax.set_mesh(make_mesh(seq=2)):
        spread = WanVAE(CONFIG, draw_tensors())
        step, _ = spread._decode(latent[None, :1], None)
        np.testing.assert_allclose(spread.decode_floats(latent), alone, atol=2e-5)
    assert len(step.sharding.device_set) == 8
    assert not step.sharding.is_fully_replicated


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
