"""Implements the layers of the Wan video VAEs (Wan Team 2025, arXiv 2503.20314), on frames [B T X Y c].

Attributes have the names of the published tensors (diffusers' AutoencoderKLWan), so that loading needs a rule and no
table. Every layer takes the `Past` of the video and works on a chunk of any length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from lct_jax.codecs.causal_conv import CausalConv, ChannelNorm, Past, convolve, convolve_frames


class FrameConv(nnx.Module):
    """Convolves every frame on its own in two dimensions; the kernel is [x, y, c, d]."""

    def __init__(self, features_in: int, features_out: int, side: int, *, rngs: nnx.Rngs) -> None:
        draw = nnx.initializers.lecun_normal()
        shape = (side, side, features_in, features_out)
        self.kernel = nnx.Param(draw(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(features_out))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves frames, zero-padded to the same size."""
        return convolve_frames(x, self._kernel(x)) + self._bias(x)

    def halve(self, x: jax.Array) -> jax.Array:
        """Convolves at a stride of 2, padded by one row and column at the far side: [.. X Y c] to [.. X//2 Y//2 d]."""
        padding = ((0, 1), (0, 1))
        return convolve_frames(x, self._kernel(x), stride=2, padding=padding) + self._bias(x)

    def double(self, x: jax.Array) -> jax.Array:
        """Convolves frames that are enlarged twice: [.. X Y c] to [.. 2X 2Y d].

        Of the nine taps on enlarged pixels those that fall on one pixel are added up first: each of the four pixels
        made of one needs four taps, and nothing is enlarged. This takes 2.25 times fewer products.
        """
        kernel = self._kernel(x)
        rows = _merge_taps(kernel, axis=0)
        parts = [
            convolve_frames(x, _merge_taps(row, axis=1)[j], padding=(_PADDING[i], _PADDING[j]))
            for i, row in enumerate(rows)
            for j in range(2)
        ]
        y = rearrange(parts, "(i j) B T X Y d -> B T (X i) (Y j) d", i=2, j=2)
        return y + self._bias(x)

    def _kernel(self, x: jax.Array) -> jax.Array:
        return self.kernel.get_value().astype(x.dtype)

    def _bias(self, x: jax.Array) -> jax.Array:
        return self.bias.get_value().astype(x.dtype).reshape(1, 1, 1, 1, -1)


# The first of two pixels uses one pixel before it, the second one after it.
_PADDING = ((1, 0), (0, 1))


def _merge_taps(kernel: jax.Array, *, axis: int) -> tuple[jax.Array, jax.Array]:
    """Returns three taps over doubled pixels as two over single ones, for the first and the second of a pair."""
    before, here, after = jnp.split(kernel, 3, axis=axis)
    first = jnp.concatenate([before, here + after], axis=axis)
    second = jnp.concatenate([before + here, after], axis=axis)
    return first, second


class ResidualBlock(nnx.Module):
    """Applies two causal convolutions, each after a norm and SiLU, beside a shortcut."""

    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = ChannelNorm(features_in), ChannelNorm(features_out)
        self.conv1 = CausalConv(features_in, features_out, (3, 3, 3), rngs=rngs)
        self.conv2 = CausalConv(features_out, features_out, (3, 3, 3), rngs=rngs)
        if features_in != features_out:
            self.conv_shortcut = CausalConv(features_in, features_out, (1, 1, 1), rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps features_in to features_out."""
        shortcut = self.conv_shortcut(x, past) if hasattr(self, "conv_shortcut") else x
        h = self.conv1(jax.nn.silu(self.norm1(x)), past)
        return self.conv2(jax.nn.silu(self.norm2(h)), past) + shortcut


class Attention(nnx.Module):
    """Applies attention with one head among the places of a frame; frames do not see each other."""

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        self.norm = ChannelNorm(features)
        self.to_qkv = FrameConv(features, 3 * features, 1, rngs=rngs)
        self.proj = FrameConv(features, features, 1, rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps features to the same."""
        del past  # the blocks of a stage share one signature
        qkv = self.to_qkv(self.norm(x))
        q, k, v = jnp.split(rearrange(qkv, "B T X Y c -> (B T) (X Y) 1 c"), 3, axis=-1)
        seen = jax.nn.dot_product_attention(q, k, v)
        return x + self.proj(seen.reshape(x.shape))


class Downsample(nnx.Module):
    """Halves rows and columns, and time where there is a `time_conv`: the first frame stays alone."""

    def __init__(self, features: int, *, in_time: bool, rngs: nnx.Rngs) -> None:
        self.resample = FrameConv(features, features, 3, rngs=rngs)
        if in_time:
            self.time_conv = CausalConv(features, features, (3, 1, 1), rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps [B T X Y c] to [B, (T+1)//2 at the start or T//2, X//2, Y//2, c]."""
        x = self.resample.halve(x)
        if not hasattr(self, "time_conv"):
            return x
        # Each later frame is made of two new ones and the one before them, which is the first frame at the start.
        at_start, extended = past.at_start, past.extend(x, 1)
        frames = extended[:, 1:] if at_start else extended
        kernel = self.time_conv.kernel.get_value().astype(x.dtype)
        bias = self.time_conv.bias.get_value().astype(x.dtype).reshape(1, 1, 1, 1, -1)
        made = [convolve(frames, kernel, stride=2) + bias] if frames.shape[1] >= 3 else []
        return jnp.concatenate([frames[:, :1], *made], axis=1) if at_start else made[0]


class Upsample(nnx.Module):
    """Doubles rows and columns, and doubles time where there is a `time_conv`.

    The first frame stays alone, and frames after it are doubled as if it did not exist.
    """

    def __init__(self, features: int, features_out: int, *, in_time: bool, rngs: nnx.Rngs) -> None:
        self.resample = FrameConv(features, features_out, 3, rngs=rngs)
        if in_time:
            self.time_conv = CausalConv(features, 2 * features, (3, 1, 1), rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        """Maps [B T X Y c] to [B, 2T-1 at the start or 2T, 2X, 2Y, features_out]."""
        if not hasattr(self, "time_conv"):
            return self.resample.double(x)
        first, rest = (x[:, :1], x[:, 1:]) if past.at_start else (x[:, :0], x)
        if rest.shape[1]:
            rest = rearrange(self.time_conv(rest, past), "B T X Y (i c) -> B (T i) X Y c", i=2)
        else:
            # Nothing is remembered yet, but the next chunk expects a memory.
            past.extend(rest, 2)
        return self.resample.double(jnp.concatenate([first, rest], axis=1))


def average_down(x: jax.Array, features: int, *, times: int, sides: int) -> jax.Array:
    """Averages blocks of places and channels to fewer places, the shortcut of Wan 2.2 beside a downsampling.

    A block of `times` frames, `sides` rows and `sides` columns gives each of its numbers, channel by channel, to one of
    the new channels, which is the mean of those that it gets. At the start of a video, where a frame is missing, zeros
    stand before it. It is written as a convolution with a constant kernel: on TPU an axis of two places as the last one
    would take the room of 128.

    Args:
        x: [B T X Y c]; c times the places of a block is a multiple of `features`.

    Returns:
        [B, ceil(T / times), X / sides, Y / sides, features].
    """
    channels, places = x.shape[-1], times * sides**2
    number = np.arange(channels * places)  # of a number in its block, channel by channel
    share = channels * places // features
    kernel = np.zeros((channels * places, features), np.float32)
    kernel[number, number // share] = 1 / share
    kernel = rearrange(
        kernel, "(c i j k) d -> i j k c d", c=channels, i=times, j=sides, k=sides
    ).astype(x.dtype)
    x = jnp.pad(x, ((0, 0), (-x.shape[1] % times, 0), (0, 0), (0, 0), (0, 0)))
    parts = [
        convolve_frames(x[:, i::times], kernel[i], stride=sides, padding="VALID")
        for i in range(times)
    ]
    return sum(parts[1:], start=parts[0])


def repeat_up(x: jax.Array, features: int, *, times: int, sides: int, at_start: bool) -> jax.Array:
    """Repeats numbers to more places, the shortcut of Wan 2.2 beside an upsampling and the reverse of `average_down`.

    Args:
        x: [B T X Y c]; c is a multiple of `features`, and the places of a block are a multiple of c / features.
        at_start: whether x begins with the first frame of the video, which is not repeated in time.

    Returns:
        [B, T times - (times - 1 at the start), X sides, Y sides, features].
    """
    step = x.shape[-1] // features
    places = times * sides**2
    # The channels of a block's place are every `step`-th one, and its neighbours share them.
    parts = [x[..., place * step // places :: step] for place in range(places)]
    made = rearrange(parts, "(i j k) B T X Y c -> B (T i) (X j) (Y k) c", i=times, j=sides, k=sides)
    return made[:, times - 1 :] if at_start else made


def fold_pixels(video: jax.Array, side: int) -> jax.Array:
    """Folds squares of pixels into channels, colour by colour, columns before rows, as the published weights have them.

    Args:
        video: [B T X Y c]. side: of a square.

    Returns:
        [B, T, X / side, Y / side, c side**2].
    """
    return rearrange(video, "B T (X j) (Y k) c -> B T X Y (c k j)", j=side, k=side)


def unfold_pixels(folded: jax.Array, side: int) -> jax.Array:
    """Returns the video of which `fold_pixels` made this."""
    return rearrange(folded, "B T X Y (c k j) -> B T (X j) (Y k) c", j=side, k=side)
