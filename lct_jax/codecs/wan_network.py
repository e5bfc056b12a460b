"""Implements encoder and decoder of the Wan 2.1 and Wan 2.2 video VAEs: causal in time, the first frame alone.

The encoder maps videos of floats [B T rows columns 3] in -1..1 to mean and log variance of latents, and the decoder
maps latents back. Layout and sizes are those of diffusers' AutoencoderKLWan. Wan 2.1's has a stride of 4x8x8, base 96,
16 channels and 127 million parameters. That of Wan2.2-TI2V-5B has a stride of 4x16x16, 48 channels and 705 million
parameters: it sees patches of 2x2 pixels, its decoder is wider than its encoder, and each of its stages stands beside a
shortcut without weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.codecs.causal_conv import CausalConv, ChannelNorm, Past
from lct_jax.codecs.wan_layers import (
    Attention,
    Downsample,
    ResidualBlock,
    Upsample,
    average_down,
    fold_pixels,
    repeat_up,
    unfold_pixels,
)
from lct_jax.distributed.sharding import spread


@dataclass(frozen=True)
class WanConfig:
    """Holds the sizes of the network, by the names of the published config; the defaults are those of Wan 2.1.

    Attributes:
        base_dim: features of the encoder at full resolution. decoder_base_dim: those of the decoder; None for the same.
        z_dim: channels of the latents.
        dim_mult: features of each stage over base_dim. num_res_blocks: residual blocks of an encoder's stage.
        temperal_downsample: which of the stages but the last halve time.
        is_residual: whether stages have shortcuts without weights (Wan 2.2).
        patch_size: rows and columns of pixels that the network sees as one; None for 1.
        latents_mean, latents_std: of each channel; the diffusion model is given (latent - mean) / std.
    """

    base_dim: int = 96
    decoder_base_dim: int | None = None
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    is_residual: bool = False
    patch_size: int | None = None
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()

    @property
    def patch(self) -> int:
        """Rows and columns of a patch of pixels."""
        return self.patch_size or 1

    @property
    def colours(self) -> int:
        """The numbers of a patch of pixels."""
        return 3 * self.patch**2

    def halves_time(self, stage: int) -> bool | None:
        """Whether the encoder halves time behind a stage; None for the last one, behind which nothing is halved."""
        return None if stage == len(self.dim_mult) - 1 else self.temperal_downsample[stage]

    def doubles_time(self, stage: int) -> bool | None:
        """The same of the decoder, whose stages are the encoder's in reverse order."""
        return None if stage == len(self.dim_mult) - 1 else self.temperal_downsample[::-1][stage]


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


class ResidualDownBlock(nnx.Module):
    """Applies residual blocks, then a downsampling unless it is the last stage, beside a shortcut (Wan 2.2)."""

    def __init__(
        self, features_in: int, features: int, config: WanConfig, *, stage: int, rngs: nnx.Rngs
    ) -> None:
        sizes = [features_in] + [features] * (config.num_res_blocks - 1)
        self.resnets = nnx.List(ResidualBlock(size, features, rngs=rngs) for size in sizes)
        self.features, self.in_time = features, config.halves_time(stage)
        if self.in_time is not None:
            self.downsampler = Downsample(features, in_time=self.in_time, rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps features_in to features."""
        times, sides = (2 if self.in_time else 1), (1 if self.in_time is None else 2)
        shortcut = average_down(x, self.features, times=times, sides=sides)
        for layer in self.resnets:
            x = spread(layer(x, past), axes=(2, 3))
        return (x if self.in_time is None else self.downsampler(x, past)) + shortcut


class UpBlock(nnx.Module):
    """Applies residual blocks, then an upsampling unless it is the last stage.

    In Wan 2.1 an upsampling halves features. In Wan 2.2 it keeps them, and a shortcut stands beside it and the blocks.
    """

    def __init__(
        self, features_in: int, features: int, config: WanConfig, *, stage: int, rngs: nnx.Rngs
    ) -> None:
        sizes = [features_in] + [features] * config.num_res_blocks
        self.resnets = nnx.List(ResidualBlock(size, features, rngs=rngs) for size in sizes)
        self.features, self.in_time = features, config.doubles_time(stage)
        if self.in_time is None:
            return
        if config.is_residual:
            self.upsampler = Upsample(features, features, in_time=self.in_time, rngs=rngs)
        else:
            halving = Upsample(features, features // 2, in_time=self.in_time, rngs=rngs)
            self.upsamplers = nnx.List([halving])

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps features_in to features, or to half of them after an upsampling that halves them."""
        entered = x
        for layer in (*self.resnets, *getattr(self, "upsamplers", ())):
            x = spread(layer(x, past), axes=(2, 3))
        if not hasattr(self, "upsampler"):
            return x
        times = 2 if self.in_time else 1
        shortcut = repeat_up(entered, self.features, times=times, sides=2, at_start=past.at_start)
        return spread(self.upsampler(x, past) + shortcut, axes=(2, 3))


class Encoder(nnx.Module):
    """Maps pixels, or patches of them, to two times z_dim features."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        sizes = [config.base_dim * factor for factor in (1, *config.dim_mult)]
        self.conv_in = CausalConv(config.colours, sizes[0], (3, 3, 3), rngs=rngs)
        blocks: list[nnx.Module] = []
        for stage, features in enumerate(sizes[1:]):
            if config.is_residual:
                before = sizes[stage]
                blocks.append(ResidualDownBlock(before, features, config, stage=stage, rngs=rngs))
                continue
            entering = [sizes[stage]] + [features] * (config.num_res_blocks - 1)
            blocks += [ResidualBlock(size, features, rngs=rngs) for size in entering]
            in_time = config.halves_time(stage)
            if in_time is not None:
                blocks.append(Downsample(features, in_time=in_time, rngs=rngs))
        self.down_blocks = nnx.List(blocks)
        self.mid_block = MidBlock(sizes[-1], rngs=rngs)
        self.norm_out = ChannelNorm(sizes[-1])
        self.conv_out = CausalConv(sizes[-1], 2 * config.z_dim, (3, 3, 3), rngs=rngs)

    def __call__(self, video: jax.Array, past: Past) -> jax.Array:
        """Maps [B, 4n+1 at the start or 4n frames, rows, columns, colours] to [B T X Y 2c]."""
        x = self.conv_in(video, past)
        for block in self.down_blocks:
            x = spread(block(x, past), axes=(2, 3))
        x = self.mid_block(x, past)
        return self.conv_out(jax.nn.silu(self.norm_out(x)), past)


class Decoder(nnx.Module):
    """Maps latents to pixels, or patches of them."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        base = config.decoder_base_dim or config.base_dim
        sizes = [base * f for f in (config.dim_mult[-1], *config.dim_mult[::-1])]
        self.conv_in = CausalConv(config.z_dim, sizes[0], (3, 3, 3), rngs=rngs)
        self.mid_block = MidBlock(sizes[0], rngs=rngs)
        entering = sizes[:-1]
        if not config.is_residual:  # an upsampling halves features
            entering = [sizes[0], *(size // 2 for size in sizes[1:-1])]
        self.up_blocks = nnx.List(
            UpBlock(before, features, config, stage=stage, rngs=rngs)
            for stage, (before, features) in enumerate(zip(entering, sizes[1:], strict=True))
        )
        self.norm_out = ChannelNorm(sizes[-1])
        self.conv_out = CausalConv(sizes[-1], config.colours, (3, 3, 3), rngs=rngs)

    def __call__(self, latent: jax.Array, past: Past) -> jax.Array:
        """Maps [B T X Y c] to [B, 4T-3 frames at the start or 4T, rows, columns, colours]."""
        x = self.mid_block(self.conv_in(spread(latent, axes=(2, 3)), past), past)
        for block in self.up_blocks:
            x = block(x, past)
        return self.conv_out(jax.nn.silu(self.norm_out(x)), past)


class WanNetwork(nnx.Module):
    """Joins encoder and decoder with the 1x1x1 convolutions between them and the latents."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        channels, self.patch = config.z_dim, config.patch
        self.encoder, self.decoder = Encoder(config, rngs=rngs), Decoder(config, rngs=rngs)
        self.quant_conv = CausalConv(2 * channels, 2 * channels, (1, 1, 1), rngs=rngs)
        self.post_quant_conv = CausalConv(channels, channels, (1, 1, 1), rngs=rngs)

    def encode(self, video: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
        """Maps frames in -1..1 to mean and log variance, each [B T X Y c], not normalised."""
        x = self.encoder(fold_pixels(video, self.patch), past)
        mean, logvar = jnp.split(self.quant_conv(x, past), 2, axis=-1)
        return mean, logvar

    def decode(self, latent: jax.Array, past: Past) -> jax.Array:
        """Maps latents, not normalised, to frames in -1..1."""
        x = self.decoder(self.post_quant_conv(latent, past), past)
        return jnp.clip(unfold_pixels(x, self.patch), -1.0, 1.0)
