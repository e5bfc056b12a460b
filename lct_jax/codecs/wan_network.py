"""Implements encoder and decoder of the Wan 2.1 video VAE: 4x8x8, causal in time, the first frame alone.

The encoder maps videos of floats [B T rows columns 3] in -1..1 to mean and log variance of latents, and the decoder
maps latents back. Layout and sizes are those of diffusers' AutoencoderKLWan; the published model has base 96, 16
channels and 127 million parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.codecs.causal_conv import CausalConv, ChannelNorm, Past
from lct_jax.codecs.wan_layers import Attention, Downsample, ResidualBlock, Upsample
from lct_jax.distributed.sharding import spread


@dataclass(frozen=True)
class WanConfig:
    """Holds the sizes of the network, by the names of the published config; the defaults are those of Wan 2.1.

    Attributes:
        base_dim: features at full resolution. z_dim: channels of the latents.
        dim_mult: features of each stage over base_dim. num_res_blocks: residual blocks of an encoder's stage.
        temperal_downsample: which of the stages but the last halve time.
        latents_mean, latents_std: of each channel; the diffusion model is given (latent - mean) / std.
    """

    base_dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()


class MidBlock(nnx.Module):
    """Applies a residual block, attention, and a residual block."""

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        self.resnets = nnx.List(ResidualBlock(features, features, rngs=rngs) for _ in range(2))
        self.attentions = nnx.List([Attention(features, rngs=rngs)])

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps features to the same."""
        for layer in (self.resnets[0], self.attentions[0], self.resnets[1]):
            x = layer(x, past)
        return x


class UpBlock(nnx.Module):
    """Applies residual blocks, then an upsampling unless it is the last stage."""

    def __init__(
        self, features_in: int, features: int, config: WanConfig, *, stage: int, rngs: nnx.Rngs
    ) -> None:
        sizes = [features_in] + [features] * config.num_res_blocks
        self.resnets = nnx.List(ResidualBlock(size, features, rngs=rngs) for size in sizes)
        if stage < len(config.dim_mult) - 1:
            in_time = config.temperal_downsample[::-1][stage]
            self.upsamplers = nnx.List([Upsample(features, in_time=in_time, rngs=rngs)])

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps features_in to features, or half of them after an upsampling."""
        for layer in (*self.resnets, *getattr(self, "upsamplers", ())):
            x = spread(layer(x, past), axes=(2, 3))
        return x


class Encoder(nnx.Module):
    """Maps pixels to two times z_dim features."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        sizes = [config.base_dim * factor for factor in (1, *config.dim_mult)]
        self.conv_in = CausalConv(3, sizes[0], (3, 3, 3), rngs=rngs)
        blocks: list[nnx.Module] = []
        for stage, features in enumerate(sizes[1:]):
            entering = [sizes[stage]] + [features] * (config.num_res_blocks - 1)
            blocks += [ResidualBlock(size, features, rngs=rngs) for size in entering]
            if stage < len(config.dim_mult) - 1:
                in_time = config.temperal_downsample[stage]
                blocks.append(Downsample(features, in_time=in_time, rngs=rngs))
        self.down_blocks = nnx.List(blocks)
        self.mid_block = MidBlock(sizes[-1], rngs=rngs)
        self.norm_out = ChannelNorm(sizes[-1])
        self.conv_out = CausalConv(sizes[-1], 2 * config.z_dim, (3, 3, 3), rngs=rngs)

    def __call__(self, video: jax.Array, past: Past) -> jax.Array:
        """Maps [B, 4n+1 at the start or 4n frames, rows, columns, 3] to [B T X Y 2c]."""
        x = self.conv_in(video, past)
        for block in self.down_blocks:
            x = spread(block(x, past), axes=(2, 3))
        x = self.mid_block(x, past)
        return self.conv_out(jax.nn.silu(self.norm_out(x)), past)


class Decoder(nnx.Module):
    """Maps latents to pixels."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        sizes = [config.base_dim * f for f in (config.dim_mult[-1], *config.dim_mult[::-1])]
        self.conv_in = CausalConv(config.z_dim, sizes[0], (3, 3, 3), rngs=rngs)
        self.mid_block = MidBlock(sizes[0], rngs=rngs)
        entering = [sizes[0], *(size // 2 for size in sizes[1:-1])]  # an upsampling halves features
        self.up_blocks = nnx.List(
            UpBlock(before, features, config, stage=stage, rngs=rngs)
            for stage, (before, features) in enumerate(zip(entering, sizes[1:], strict=True))
        )
        self.norm_out = ChannelNorm(sizes[-1])
        self.conv_out = CausalConv(sizes[-1], 3, (3, 3, 3), rngs=rngs)

    def __call__(self, latent: jax.Array, past: Past) -> jax.Array:
        """Maps [B T X Y c] to [B, 4T-3 frames at the start or 4T, rows, columns, 3]."""
        x = self.mid_block(self.conv_in(spread(latent, axes=(2, 3)), past), past)
        for block in self.up_blocks:
            x = block(x, past)
        return self.conv_out(jax.nn.silu(self.norm_out(x)), past)


class WanNetwork(nnx.Module):
    """Joins encoder and decoder with the 1x1x1 convolutions between them and the latents."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        channels = config.z_dim
        self.encoder, self.decoder = Encoder(config, rngs=rngs), Decoder(config, rngs=rngs)
        self.quant_conv = CausalConv(2 * channels, 2 * channels, (1, 1, 1), rngs=rngs)
        self.post_quant_conv = CausalConv(channels, channels, (1, 1, 1), rngs=rngs)

    def encode(self, video: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
        """Maps frames in -1..1 to mean and log variance, each [B T X Y c], not normalised."""
        mean, logvar = jnp.split(self.quant_conv(self.encoder(video, past), past), 2, axis=-1)
        return mean, logvar

    def decode(self, latent: jax.Array, past: Past) -> jax.Array:
        """Maps latents, not normalised, to frames in -1..1."""
        return jnp.clip(self.decoder(self.post_quant_conv(latent, past), past), -1.0, 1.0)
