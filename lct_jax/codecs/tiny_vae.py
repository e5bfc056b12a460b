"""Implements a small causal video VAE, 4x8x8: the patch transform, with convolutions beside it that use neighbouring
blocks.

`TinyVAE.encode` maps uint8 videos to latents, and `decode` maps them back. Two linear maps, block of 4x8x8 pixels to
latent and latent to block, start as the patch codec's basis; two convolutional networks add what a linear map of a
single block cannot represent, and their output starts at zero. So training starts from the patch codec and improves
edges over block borders and motion. The first frame stands alone, coded as a block of four equal frames, and no layer
uses later frames, so a video may be processed in chunks (`causal_conv.Past`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from flax import nnx

from lct_jax.codecs.causal_conv import CausalConv, ChannelNorm, Past
from lct_jax.codecs.chunks import frame_starts, iter_chunks, make_step
from lct_jax.codecs.patch import BLOCK, STRIDE
from lct_jax.codecs.pixels import check_video, to_bytes, to_floats
from lct_jax.errors import InputError
from lct_jax.tensors import (
    dump_tensors,
    load_tensors,
    name_leaves,
    read_metadata,
    save_tensors,
)

KIND = "tiny_vae"
FINE = 2  # rows and columns of fine positions, and so of 4x4 pixel patches, in a latent position
PAIR = 2  # rows and columns of pixels in a position of the finest blocks
LOGVAR_START = -4.0


@dataclass(frozen=True)
class TinyVAEConfig:
    """Holds the sizes of the network.

    Attributes:
        channels: the channels of the latents. width, depth: of the blocks at latent positions, in encoder and decoder
            each.
        fine_width, fine_depth: of the decoder's blocks at single frames and a stride of 4 pixels.
        pixel_width, pixel_depth: of the decoder's last blocks, at a stride of 2, which cover the borders of the other
            blocks' patches. At a depth of 0 there are none.
        encodes: whether there is an encoder; without one, latents of another codec are decoded (`patch_decoder.py`).
    """

    channels: int = 16
    width: int = 192
    depth: int = 3
    fine_width: int = 64
    fine_depth: int = 2
    pixel_width: int = 32
    pixel_depth: int = 0
    encodes: bool = True


class Block(nnx.Module):
    """A residual block: within each frame, then over the last three frames at each place."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm_space, self.norm_time = ChannelNorm(width), ChannelNorm(width)
        self.space = CausalConv(width, width, (1, 3, 3), rngs=rngs)
        self.time = CausalConv(width, width, (3, 1, 1), zero=True, rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps [B, T, X, Y, width] to the same."""
        h = self.space(jax.nn.silu(self.norm_space(x)), past)
        return x + self.time(jax.nn.silu(self.norm_time(h)), past)


class Encoder(nnx.Module):
    """Encodes blocks of pixels to mean and log variance of latents."""

    def __init__(self, config: TinyVAEConfig, *, rngs: nnx.Rngs) -> None:
        self.linear = CausalConv(BLOCK, config.channels, (1, 1, 1), rngs=rngs)
        self.stem = CausalConv(BLOCK, config.width, (1, 1, 1), rngs=rngs)
        self.blocks = nnx.List(Block(config.width, rngs=rngs) for _ in range(config.depth))
        self.norm = ChannelNorm(config.width)
        self.head = CausalConv(config.width, 2 * config.channels, (1, 1, 1), zero=True, rngs=rngs)

    def __call__(self, pixels: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
        """Maps blocks [B, T, X, Y, 768] to two [B, T, X, Y, channels]."""
        x = self.stem(pixels, past)
        for block in self.blocks:
            x = block(x, past)
        added, logvar = jnp.split(self.head(jax.nn.silu(self.norm(x)), past), 2, axis=-1)
        return self.linear(pixels, past) + added, logvar + LOGVAR_START


class Pixels(nnx.Module):
    """Corrects a decoded video where its patches meet; its output starts at zero."""

    def __init__(self, config: TinyVAEConfig, *, rngs: nnx.Rngs) -> None:
        width, features, colours = config.pixel_width, config.fine_width // PAIR**2, 3 * PAIR**2
        self.widen = CausalConv(config.fine_width, PAIR**2 * features, (1, 1, 1), rngs=rngs)
        self.stem = CausalConv(colours + features, width, (1, 3, 3), rngs=rngs)
        self.blocks = nnx.List(Block(width, rngs=rngs) for _ in range(config.pixel_depth))
        self.norm = ChannelNorm(width)
        self.head = CausalConv(width, colours, (1, 3, 3), zero=True, rngs=rngs)

    def __call__(self, video: jax.Array, fine: jax.Array, past: Past) -> jax.Array:
        """Maps frames [B, T, 4X, 4Y, 3] and features of their 4x4 patches [B, T, X, Y, d] to corrections of the same
        size."""
        split = {"x": PAIR, "y": PAIR}
        pairs = rearrange(video, "B T (X x) (Y y) c -> B T X Y (x y c)", **split)
        fine = rearrange(self.widen(fine, past), "B T X Y (x y d) -> B T (X x) (Y y) d", **split)
        x = self.stem(jnp.concatenate([pairs, fine], axis=-1), past)
        for block in self.blocks:
            x = block(x, past)
        added = self.head(jax.nn.silu(self.norm(x)), past)
        return rearrange(added, "B T X Y (x y c) -> B T (X x) (Y y) c", **split)


class Decoder(nnx.Module):
    """Decodes latents to frames, four for each latent frame."""

    def __init__(self, config: TinyVAEConfig, *, rngs: nnx.Rngs) -> None:
        fine = config.fine_width
        self.linear = CausalConv(config.channels, BLOCK, (1, 1, 1), rngs=rngs)
        self.stem = CausalConv(config.channels, config.width, (1, 3, 3), rngs=rngs)
        self.blocks = nnx.List(Block(config.width, rngs=rngs) for _ in range(config.depth))
        self.refine = CausalConv(config.width, STRIDE[0] * FINE * FINE * fine, (1, 1, 1), rngs=rngs)
        self.fine_blocks = nnx.List(Block(fine, rngs=rngs) for _ in range(config.fine_depth))
        self.norm = ChannelNorm(fine)
        pixels = BLOCK // (STRIDE[0] * FINE * FINE)
        self.head = CausalConv(fine, pixels, (1, 3, 3), zero=True, rngs=rngs)
        if config.pixel_depth:
            self.pixels = Pixels(config, rngs=rngs)

    def __call__(self, latent: jax.Array, past: Past) -> jax.Array:
        """Maps [B, T, X, Y, channels] to [B, 4T - 3 frames at the start or 4T, 8X, 8Y, 3]."""
        x = self.stem(latent, past)
        for block in self.blocks:
            x = block(x, past)
        split = {"t": STRIDE[0], "x": FINE, "y": FINE}
        x = rearrange(self.refine(x, past), "B T X Y (t x y d) -> B (T t) (X x) (Y y) d", **split)
        for block in self.fine_blocks:
            x = block(x, past)
        x = jax.nn.silu(self.norm(x))
        side = STRIDE[1] // FINE
        added = rearrange(
            self.head(x, past), "B T X Y (u v c) -> B T (X u) (Y v) c", u=side, v=side, c=3
        )
        t, u, v = STRIDE
        blocks = self.linear(latent, past)
        video = added + rearrange(
            blocks, "B T X Y (t u v c) -> B (T t) (X u) (Y v) c", t=t, u=u, v=v, c=3
        )
        if hasattr(self, "pixels"):
            video = video + self.pixels(video, x, past)
        if past.at_start:
            first = video[:, : STRIDE[0]].mean(axis=1, keepdims=True)
            video = jnp.concatenate([first, video[:, STRIDE[0] :]], axis=1)
        return video


class Network(nnx.Module):
    """Joins encoder and decoder, over videos of floats in -1..1."""

    def __init__(self, config: TinyVAEConfig, *, rngs: nnx.Rngs) -> None:
        if config.encodes:
            self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def encode(self, video: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
        """Maps [B, 4n+1 at the start or 4n frames, rows, columns, 3] to mean and log variance [B, T, X, Y, c]."""
        return self.encoder(to_blocks(video, at_start=past.at_start), past)

    def decode(self, latent: jax.Array, past: Past) -> jax.Array:
        """Maps [B, T, X, Y, c] to [B, 4T - 3 frames at the start or 4T, rows, columns, 3]."""
        return self.decoder(latent, past)


class TinyVAE:
    """Holds a trained network with the statistics of its latents; satisfies `VideoCodec`.

    Args:
        config: the sizes. tensors: the parameters by dotted name, and `latent.mean` [channels], `latent.scale` [1]:
            `encode` returns (mean of the posterior - latent.mean) / latent.scale, of mean square 1 over the footage
            trained on. All channels share one scale, so that strong ones stay strong.
        credit: the credit line of the footage.
    """

    stride = STRIDE

    def __init__(
        self, config: TinyVAEConfig, tensors: dict[str, np.ndarray], *, credit: str
    ) -> None:
        self._config, self._credit, self.channels = config, credit, config.channels
        # The weights are rounded to half precision, as the file keeps them, so that saving changes nothing.
        self._tensors = {name: x.astype(np.float16) for name, x in tensors.items()}
        digest = hashlib.sha256(dump_tensors(self._tensors)).hexdigest()
        self.identity = f"tiny-vae-4x8x8x{self.channels}:sha256:{digest[:16]}"
        values = {name: x.astype(np.float32) for name, x in self._tensors.items()}
        self._mean, self._scale = values.pop("latent.mean"), values.pop("latent.scale")
        self.parameters = values  # the parameters of the network, by dotted name
        graph, params = fill_network(config, values)
        self._encode = make_step(graph, params, _encode_mean)
        self._decode = make_step(graph, params, Network.decode)

    def encode(self, video_TXYc: np.ndarray) -> np.ndarray:
        """Encodes uint8 [4n+1, height, width, 3] to float32 [n+1, height/8, width/8, channels]."""
        video = to_floats(check_video(video_TXYc, STRIDE))
        chunks = iter_chunks(self._encode, video, frame_starts(len(video), STRIDE[0]))
        return (np.concatenate(list(chunks)) - self._mean) / self._scale

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        """Decodes float32 [T, X, Y, channels] to uint8 [4T-3, 8X, 8Y, 3]."""
        latent = np.asarray(latent_TXYC, np.float32) * self._scale + self._mean
        chunks = iter_chunks(self._decode, latent, frame_starts(len(latent), 1))
        return np.concatenate([to_bytes(chunk) for chunk in chunks])

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors, float16, with their sizes and the credit in the header."""
        save_tensors(path, self._tensors, make_header(KIND, self._config, self._credit))

    @classmethod
    def load(cls, path: Path, *, channels: int) -> TinyVAE:
        """Reads what `save` wrote; raises InputError where kind, names, shapes or channels differ."""
        config, shapes, credit = read_header(path, KIND, channels=channels)
        shapes |= {"latent.mean": (channels,), "latent.scale": (1,)}
        return cls(config, load_tensors(path, shapes=shapes, dropped={}), credit=credit)


CODEC = TinyVAE


def to_blocks(video: jax.Array, *, at_start: bool) -> jax.Array:
    """Maps frames [B, T, rows, columns, 3] to blocks [B, T', X, Y, 768]; at the start, the first frame is a block of
    four equal ones."""
    if at_start:
        video = jnp.concatenate([repeat(video[:, :1], "b 1 ... -> b t ...", t=3), video], 1)
    t, x, y = STRIDE
    return rearrange(video, "b (T t) (X x) (Y y) c -> b T X Y (t x y c)", t=t, x=x, y=y)


def abstract_network(config: TinyVAEConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns the network's graph and the shapes of its parameters."""
    return nnx.split(nnx.eval_shape(lambda: Network(config, rngs=nnx.Rngs(0))))


def fill_network(
    config: TinyVAEConfig, values: Mapping[str, np.ndarray]
) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns the network's graph and its parameters, from those by dotted name."""
    graph, shapes = abstract_network(config)
    leaves = [values[name] for name in name_leaves(shapes)]
    return graph, jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def make_header(kind: str, config: TinyVAEConfig, credit: str) -> dict[str, str]:
    """Returns what the header of a file says: the codec that reads it, the sizes of its network, and the credit."""
    return {"codec": kind, "config": json.dumps(dataclasses.asdict(config)), "credit": credit}


def read_header(
    path: Path, kind: str, *, channels: int
) -> tuple[TinyVAEConfig, dict[str, tuple[int, ...]], str]:
    """Returns the sizes, the shapes of the parameters by dotted name, and the credit of a file of `make_header`.

    Raises:
        InputError: the file is of another kind, or of other channels.
    """
    metadata = read_metadata(path)
    if metadata.get("codec") != kind:
        raise InputError(f"{path}: found codec {metadata.get('codec')!r}, expected {kind!r}")
    config = TinyVAEConfig(**json.loads(metadata["config"]))
    if config.channels != channels:
        raise InputError(f"{path}: found {config.channels} channels, expected {channels}")
    leaves = name_leaves(abstract_network(config)[1])
    return config, {name: leaf.shape for name, leaf in leaves.items()}, metadata["credit"]


def _encode_mean(network: Network, video: jax.Array, past: Past) -> jax.Array:
    return network.encode(video, past)[0]
