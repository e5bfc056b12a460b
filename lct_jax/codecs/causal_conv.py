"""Implements convolutions that use past frames alone, and the memory that lets a video be processed in chunks.

Inputs and outputs are frames [B T X Y c]. `Past` carries, from one chunk to the next, the last frames that each layer
has read: a video in chunks then gives the same result as the whole video. Time is folded into the batch and its taps
are summed after 2D convolutions: on a CPU, XLA's own 3D convolution is slower (benchmarks/codecs.py measures both).
`winograd.py` saves up to half of these.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.codecs.winograd import convolve_by_fewer_products

Slots = tuple[jax.Array, ...]


class Past:
    """Stores what the causal layers of a network need of the frames before a chunk.

    Layers read and write their memory in the order in which they are called, so the order must not depend on data. A
    `Past` lives for one call of the network: it is made as `Past(slots)`, and `past.slots()` is passed to the next
    chunk.

    Args:
        slots: the memory after an earlier chunk; None at the start of a video, before which all is zero.
    """

    def __init__(self, slots: Slots | None) -> None:
        self.at_start = slots is None
        self._before = iter(slots or ())
        self._after: list[jax.Array] = []

    def extend(self, x_BTXYc: jax.Array, frames: int) -> jax.Array:
        """Puts the `frames` frames before a chunk in front of it, and stores the last ones of the result."""
        if self.at_start:
            shape = (x_BTXYc.shape[0], frames, *x_BTXYc.shape[2:])
            before = jnp.zeros(shape, x_BTXYc.dtype)
        else:
            before = next(self._before)
        extended = jnp.concatenate([before, x_BTXYc], axis=1)
        self._after.append(extended[:, extended.shape[1] - frames :])
        return extended

    def slots(self) -> Slots:
        """Returns the memory after this chunk, one array for each layer."""
        return tuple(self._after)


class CausalConv(nnx.Module):
    """Convolves over the frames up to the present one, and over rows and columns on both sides, zero-padded.

    Args:
        features_in, features_out: channels. kernel: taps over (T, X, Y); odd over X and Y.
        zero: starts the kernel at zero, so that a branch adds nothing before it is trained.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        kernel: tuple[int, int, int],
        *,
        zero: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        draw = nnx.initializers.zeros if zero else nnx.initializers.lecun_normal()
        shape = (*kernel, features_in, features_out)
        self.kernel = nnx.Param(draw(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(features_out))

    def __call__(self, x_BTXYc: jax.Array, past: Past) -> jax.Array:
        """Maps [B, T, X, Y, features_in] to [B, T, X, Y, features_out]."""
        kernel = self.kernel.get_value().astype(x_BTXYc.dtype)
        taps = kernel.shape[0]
        extended = past.extend(x_BTXYc, taps - 1) if taps > 1 else x_BTXYc
        y = convolve(extended, kernel)
        return y + self.bias.get_value().astype(y.dtype).reshape(1, 1, 1, 1, -1)


def convolve(x_BTXYc: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolves without padding in time, zero-padded to the same size over rows and columns.

    Args:
        x_BTXYc: [B, T, X, Y, c]. kernel: [t, x, y, c, d]. stride: in time.

    Returns:
        [B, (T - t) // stride + 1, X, Y, d].
    """
    taps, frames = kernel.shape[0], (x_BTXYc.shape[1] - kernel.shape[0]) // stride + 1
    # For a kernel of single places the sums cost more than the products that they save.
    worth_it = kernel.shape[:3] == (3, 3, 3) and frames > 1
    if worth_it and stride == 1 and x_BTXYc.dtype == jnp.float32:
        made, done = convolve_by_fewer_products(x_BTXYc, kernel, convolve_frames)
        if done == frames:
            return made
        return jnp.concatenate([made, convolve(x_BTXYc[:, done:], kernel)], axis=1)
    last = stride * (frames - 1) + 1
    parts = [
        convolve_frames(x_BTXYc[:, tap : tap + last : stride], kernel[tap]) for tap in range(taps)
    ]
    return sum(parts[1:], start=parts[0])


def convolve_frames(
    x_BTXYc: jax.Array,
    kernel_xycd: jax.Array,
    *,
    stride: int = 1,
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "SAME",
) -> jax.Array:
    """Convolves each frame of [B, T, X, Y, c] on its own with a kernel [x, y, c, d]."""
    frames = x_BTXYc.reshape(-1, *x_BTXYc.shape[2:])
    if kernel_xycd.shape[:2] == (1, 1) and stride == 1:
        y = frames @ kernel_xycd[0, 0]
    else:
        y = jax.lax.conv_general_dilated(
            frames,
            kernel_xycd,
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    return y.reshape(*x_BTXYc.shape[:2], *y.shape[1:])


class ChannelNorm(nnx.Module):
    """Scales each position to root mean square 1 over its channels, then by a learnt factor a channel.

    It is `WanRMS_norm` of diffusers: a division by the length of the vector, at least 1e-12.
    """

    def __init__(self, features: int) -> None:
        self.scale = nnx.Param(jnp.ones(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., features] to the same; computed in float32."""
        x32 = x.astype(jnp.float32)
        length = jnp.sqrt(jnp.sum(x32 * x32, axis=-1, keepdims=True) + 1e-24)
        scale = self.scale.get_value().reshape((1,) * (x.ndim - 1) + (-1,))
        return (x32 / length * (x.shape[-1] ** 0.5) * scale).astype(x.dtype)
