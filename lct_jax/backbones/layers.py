"""Layers that networks of several families are made of: norms, modulation by group, time features, attention.

Norms and modulation are float32 whatever the network computes in.
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.attention.attend import attend
from lct_jax.attention.cache import attend_history
from lct_jax.attention.chunked import AttentionOutput, merge
from lct_jax.attention.mask import KeySpans
from lct_jax.attention.rope import Rotation, rotate
from lct_jax.attention.visibility import TableKeys, attend_by_table
from lct_jax.config import Kernel
from lct_jax.distributed.sharding import count_shards, shard_heads
from lct_jax.types import History

EPSILON = 1e-6
# Flow time is 0 to 1; the sinusoids of diffusion models were made for times on this scale.
TIME_SCALE = 1000.0
TIME_BASE = 10_000.0
# Shift, scale and gate of attention, then those of the MLP.
MODULATIONS = 6

# Norms, gates and GELU are recomputed in the backward pass from their inputs; otherwise every intermediate number would
# be written to memory and read back. In a scan over blocks no other computation can be merged with it, so that it needs
# no barrier.
recomputed = functools.partial(jax.checkpoint, prevent_cse=False)
# The same behind a barrier, for what takes a float32 row for every token. Where the block itself is recomputed, its
# forward pass would be merged with this, and keep these rows until the backward pass has come to them. Which of the two
# takes less memory is another matter for every network (benchmarks/README.md).
recomputed_apart = jax.checkpoint


def time_features(time_BS: jax.Array, width: int) -> jax.Array:
    """Returns sinusoidal features of diffusion time (DDPM, arXiv 2006.11239), float32[B S width], cosines first."""
    half = width // 2
    rate = TIME_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = time_BS.astype(jnp.float32)[..., None] * TIME_SCALE * rate[None, None]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


# A layer that is float32 on every platform; TPU and GPU would round the inputs of a product to bfloat16 or TF32.
float_linear = functools.partial(nnx.Linear, precision=jax.lax.Precision.HIGHEST)


def layer_norm(x: jax.Array) -> jax.Array:
    """Returns LayerNorm without parameters, computed and returned in float32."""
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON)


def rms_norm(x: jax.Array, axes: tuple[int, ...] = (-1,)) -> jax.Array:
    """Returns RMSNorm without parameters over `axes`, computed and returned in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axes, keepdims=True) + EPSILON)


def modulate(norm_BLD: jax.Array, shift_BLD: jax.Array, scale_BLD: jax.Array) -> jax.Array:
    """Returns x (1 + scale) + shift in float32 (adaLN)."""
    return norm_BLD * (1.0 + scale_BLD) + shift_BLD


def modulate_by(table: nnx.Param, shared_BS6D: jax.Array) -> list[jax.Array]:
    """Returns the six modulation vectors of every group in a block, float32[B S D] each.

    Args:
        table: the block's own, [6 D]. shared_BS6D: what all blocks share.
    """
    table_BS6D = shared_BS6D + table[...][None, None]
    return [table_BS6D[:, :, part] for part in range(MODULATIONS)]


def of_group(table_BSD: jax.Array, group_BL: jax.Array) -> jax.Array:
    """Returns each token's row of a table over group slots: [B L D] of [B S D]."""
    # The mode "clip" costs a pass over the indices, and "fill" would cost one over the result.
    return jnp.take_along_axis(table_BSD, group_BL[:, :, None], axis=1, mode="clip")


def modulate_norm(
    x_BLD: jax.Array, shift_BSD: jax.Array, scale_BSD: jax.Array, group_BL: jax.Array
) -> jax.Array:
    """Returns adaLN of every token by the row of its group, float32[B L D]."""
    return modulate(layer_norm(x_BLD), of_group(shift_BSD, group_BL), of_group(scale_BSD, group_BL))


def gate(x_BLD: jax.Array, gate_BSD: jax.Array, group_BL: jax.Array) -> jax.Array:
    """Returns every token times the gate of its group, float32[B L D]."""
    return of_group(gate_BSD, group_BL) * x_BLD


modulated_norm, gated = recomputed(modulate_norm), recomputed(gate)
modulated_norm_apart, gated_apart = recomputed_apart(modulate_norm), recomputed_apart(gate)


@recomputed
def gelu(x: jax.Array) -> jax.Array:
    """Returns GELU in its tanh approximation."""
    return nnx.gelu(x, approximate=True)


def project_tokens(layer: nnx.Linear, x_BLD: jax.Array) -> jax.Array:
    """Applies a layer to all tokens, as one matrix where one device has them all.

    The gradient of its weights is then a product of two matrices. XLA on CPU would transpose the inputs of a product
    that sums over rows and tokens, which adds half of the product's own time.
    """
    if count_shards("B") * count_shards("L") > 1:
        return layer(x_BLD)
    flat = layer(x_BLD.reshape(-1, x_BLD.shape[-1]))
    return flat.reshape(*x_BLD.shape[:-1], flat.shape[-1])


class QKNorm(nnx.Module):
    """Learned RMSNorm of queries or keys `x_BHLK`, over a head ("head") or over all heads ("all"); "none" is none.

    Args:
        over: what the mean is taken over. heads: H. head_dim: K.
    """

    def __init__(self, over: Literal["head", "all", "none"], *, heads: int, head_dim: int) -> None:
        self.axes = {"head": (-1,), "all": (1, 3), "none": ()}[over]
        if self.axes:
            shape = {(-1,): (head_dim,), (1, 3): (heads, 1, head_dim)}
            self.scale = nnx.Param(jnp.ones(shape[self.axes]))

    def __call__(self, x_BHLK: jax.Array) -> jax.Array:
        if not self.axes:
            return x_BHLK
        scale_1H1K = self.scale[...].reshape(1, -1, 1, x_BHLK.shape[-1])  # H is 1 for "head"
        scaled = recomputed(lambda x, scale: rms_norm(x, self.axes) * scale)
        return scaled(x_BHLK, scale_1H1K).astype(x_BHLK.dtype)


def attend_with_history(
    q_BHLK: jax.Array,
    k_BHLK: jax.Array,
    v_BHLK: jax.Array,
    *,
    rotation: Rotation,
    key_spans: tuple[KeySpans, ...] | TableKeys,
    history: History | None,
    layer: jax.Array,
    kernel: Kernel,
) -> AttentionOutput:
    """Returns attention over each set of own keys and over the history, merged by log-sum-exp.

    Args:
        q_BHLK, k_BHLK, v_BHLK: normalised, before rotation.
        key_spans: which own keys every token sees, the sets of keys of its members being disjoint; or tables that say
            it, for a pass without a history.
        history: cached keys of all layers; None for a pass without a cache.
        layer: int32, the number of the block, which selects its keys in the history.
    """
    q, k = rotate(q_BHLK, rotation), rotate(k_BHLK, rotation)
    if isinstance(key_spans, TableKeys):
        return attend_by_table(q, k, v_BHLK, key_spans, layer)
    parts = [attend(q, k, v_BHLK, spans=spans, kernel=kernel) for spans in key_spans]
    if history is not None:
        parts.append(attend_history(shard_heads(q, "BHLK"), history, layer))
    return functools.reduce(merge, parts)
