"""One dual-stream block: text and video have weights of their own and attend jointly.

The block is that of Stable Diffusion 3's MMDiT (arXiv 2403.03206, section 4) with three choices of ours: queries and
keys are RMS-normalised, the six modulation vectors of a stream come from one projection shared by all blocks plus a
small learned table for each block (PixArt-alpha, arXiv 2310.00426, section 2.3: at 3B it saves 1.4 billion parameters),
and every token is modulated by the time of its own group.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from lct_jax.attention.attend import attend
from lct_jax.attention.cache import attend_history
from lct_jax.attention.chunked import AttentionOutput, merge
from lct_jax.attention.mask import KeySpans
from lct_jax.attention.rope import Rotation, rotate
from lct_jax.attention.ulysses import Streams, join, part
from lct_jax.config import DualStreamConfig, Kernel, NetworkConfig
from lct_jax.distributed.sharding import count_shards, shard, shard_heads
from lct_jax.types import History

EPSILON = 1e-6
# Shift, scale and gate of attention, then those of the MLP.
MODULATIONS = 6

# Norms, gates and GELU are recomputed in the backward pass from their inputs; otherwise every intermediate number would
# be written to memory and read back. In a scan over blocks no other computation can be merged with it, so that it needs
# no barrier.
recomputed = functools.partial(jax.checkpoint, prevent_cse=False)


class BlockInput(NamedTuple):
    """The inputs that all blocks of a forward pass share.

    Attributes:
        modulation: Streams of float32[B S 6 D], before the block's own table is added.
        rotation: the rotation of text and video tokens, joined.
        group: Streams of int32[B L], the group slot of every token.
        key_spans: which of the joined tokens every token sees. The sets of keys of its members are disjoint, and a
            token sees all of them.
        history: cached keys of all layers, which every token sees too; None for a pass without a cache.
    """

    modulation: Streams
    rotation: Rotation
    key_spans: tuple[KeySpans, ...]
    group: Streams
    history: History | None


class BlockOutput(NamedTuple):
    """The output of a block.

    Attributes:
        x: Streams of [B L D].
        k, v: [B H L K] of text and video tokens, joined; keys are not yet rotated.
    """

    x: Streams
    k: jax.Array
    v: jax.Array


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


def of_group(table_BSD: jax.Array, group_BL: jax.Array) -> jax.Array:
    """Returns each token's row of a table over group slots: [B L D] of [B S D]."""
    # The mode "clip" costs a pass over the indices, and "fill" would cost one over the result.
    return jnp.take_along_axis(table_BSD, group_BL[:, :, None], axis=1, mode="clip")


@recomputed
def modulated_norm(
    x_BLD: jax.Array, shift_BSD: jax.Array, scale_BSD: jax.Array, group_BL: jax.Array
) -> jax.Array:
    """Returns adaLN of every token by the row of its group, float32[B L D]."""
    return modulate(layer_norm(x_BLD), of_group(shift_BSD, group_BL), of_group(scale_BSD, group_BL))


@recomputed
def gated(x_BLD: jax.Array, gate_BSD: jax.Array, group_BL: jax.Array) -> jax.Array:
    """Returns every token times the gate of its group, float32[B L D]."""
    return of_group(gate_BSD, group_BL) * x_BLD


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
    """Learned RMSNorm of queries or keys `x_BHLK`, over a head ("head") or over all heads ("all")."""

    def __init__(self, config: DualStreamConfig) -> None:
        self.axes = {"head": (-1,), "all": (1, 3), "none": ()}[config.qk_norm]
        if self.axes:
            shape = {(-1,): (config.head_dim,), (1, 3): (config.heads, 1, config.head_dim)}
            self.scale = nnx.Param(jnp.ones(shape[self.axes]))

    def __call__(self, x_BHLK: jax.Array) -> jax.Array:
        if not self.axes:
            return x_BHLK
        scale_1H1K = self.scale[...].reshape(1, -1, 1, x_BHLK.shape[-1])  # H is 1 for "head"
        scaled = recomputed(lambda x, scale: rms_norm(x, self.axes) * scale)
        return scaled(x_BHLK, scale_1H1K).astype(x_BHLK.dtype)


class StreamBlock(nnx.Module):
    """The weights of one stream in one block."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        backbone, dtype = config.backbone, jnp.dtype(config.compute.dtype)
        width, inner = backbone.width, backbone.heads * backbone.head_dim
        hidden = backbone.mlp_ratio * width
        dense = lambda i, o: nnx.Linear(
            i, o, dtype=dtype, kernel_init=nnx.initializers.xavier_uniform(), rngs=rngs
        )
        self.heads, self.dtype = backbone.heads, dtype
        self.qkv = dense(width, 3 * inner)
        self.out = dense(inner, width)
        self.up = dense(width, hidden)
        self.down = dense(hidden, width)
        self.q_norm, self.k_norm = QKNorm(backbone), QKNorm(backbone)
        self.table = nnx.Param(jnp.zeros((MODULATIONS, width)))

    def modulation(self, shared_BS6D: jax.Array) -> list[jax.Array]:
        """Returns the six modulation vectors of every group, float32[B S D] each."""
        table_BS6D = shared_BS6D + self.table[...][None, None]
        return [table_BS6D[:, :, part] for part in range(MODULATIONS)]

    def project(self, x_BLD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns normalised queries and keys, and values: [B H L K] each, before rotation."""
        qkv = rearrange(
            project_tokens(self.qkv, x_BLD), "B L (n H K) -> n B H L K", n=3, H=self.heads
        )
        return self.q_norm(qkv[0]), self.k_norm(qkv[1]), qkv[2]

    def mlp(self, x_BLD: jax.Array) -> jax.Array:
        """Returns the output of the MLP, whose activation is GELU in its tanh approximation."""
        return project_tokens(self.down, gelu(project_tokens(self.up, x_BLD)))


class Block(nnx.Module):
    """Joint attention between text and video, followed by an MLP for each stream."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        self.kernel = config.compute.kernel
        self.text = StreamBlock(config, rngs=rngs)
        self.video = StreamBlock(config, rngs=rngs)

    def __call__(self, x: Streams, shared: BlockInput, layer: jax.Array) -> BlockOutput:
        """Returns the residual update of both streams; `x` is Streams of [B L D] in the compute dtype.

        Args:
            shared: the inputs that all blocks share.
            layer: int32, the number of this block, which selects its keys in `shared.history`.
        """
        weights = Streams(self.text, self.video)
        modulation = [w.modulation(m) for w, m in zip(weights, shared.modulation, strict=True)]
        joined = []
        for w, h_BLD, m, g in zip(weights, x, modulation, shared.group, strict=True):
            joined.append(w.project(modulated_norm(h_BLD, m[0], m[1], g).astype(w.dtype)))
        q, k, v = (join(Streams(*pair), axis=2) for pair in zip(*joined, strict=True))
        mixed_BHLK = _mix(q, k, v, shared, layer, kernel=self.kernel).value
        mixed_BLD = rearrange(mixed_BHLK, "B H L K -> B L (H K)")
        split = part(mixed_BLD, text=x.text.shape[1], axis=1)
        streams = zip(weights, x, split, modulation, shared.group, strict=True)
        return BlockOutput(Streams(*(_update(*stream) for stream in streams)), k, v)


def _mix(
    q_BHLK: jax.Array,
    k_BHLK: jax.Array,
    v_BHLK: jax.Array,
    shared: BlockInput,
    layer: jax.Array,
    *,
    kernel: Kernel,
) -> AttentionOutput:
    """Returns attention over each set of own tokens and over the history, merged by log-sum-exp."""
    q, k = rotate(q_BHLK, shared.rotation), rotate(k_BHLK, shared.rotation)
    parts = [attend(q, k, v_BHLK, spans=spans, kernel=kernel) for spans in shared.key_spans]
    if shared.history is not None:
        parts.append(attend_history(shard_heads(q, "BHLK"), shared.history, layer))
    return functools.reduce(merge, parts)


def _update(
    w: StreamBlock,
    x_BLD: jax.Array,
    mixed_BLD: jax.Array,
    m: list[jax.Array],
    group_BL: jax.Array,
) -> jax.Array:
    """Adds a stream's gated attention output, then its gated MLP output."""
    x_BLD = x_BLD + gated(project_tokens(w.out, mixed_BLD), m[2], group_BL).astype(w.dtype)
    hidden = w.mlp(modulated_norm(x_BLD, m[3], m[4], group_BL).astype(w.dtype))
    return shard(x_BLD + gated(hidden, m[5], group_BL).astype(w.dtype), "BLD")
