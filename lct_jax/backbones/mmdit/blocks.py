"""One dual-stream block: text and video have weights of their own and attend jointly.

The block is that of Stable Diffusion 3's MMDiT (arXiv 2403.03206, section 4) with three choices of ours: queries and
keys are RMS-normalised, the six modulation vectors of a stream come from one projection shared by all blocks plus a
small learned table for each block (PixArt-alpha, arXiv 2310.00426, section 2.3: at 3B it saves 1.4 billion parameters),
and every token is modulated by the time of its own group.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from lct_jax.attention.mask import KeySpans
from lct_jax.attention.rope import Rotation
from lct_jax.attention.ulysses import Streams, join, part
from lct_jax.attention.visibility import TableKeys
from lct_jax.backbones.layers import (
    MODULATIONS,
    QKNorm,
    attend_with_history,
    gated,
    gelu,
    modulate_by,
    modulated_norm,
    project_tokens,
)
from lct_jax.config import NetworkConfig
from lct_jax.distributed.sharding import shard
from lct_jax.types import History


class BlockInput(NamedTuple):
    """The inputs that all blocks of a forward pass share.

    Attributes:
        modulation: Streams of float32[B S 6 D], before the block's own table is added.
        rotation: the rotation of text and video tokens, joined.
        group: Streams of int32[B L], the group slot of every token.
        key_spans: which of the joined tokens every token sees. The sets of keys of its members are disjoint, and a
            token sees all of them. Or tables that say it.
        history: cached keys of all layers, which every token sees too; None for a pass without a cache.
    """

    modulation: Streams
    rotation: Rotation
    key_spans: tuple[KeySpans, ...] | TableKeys
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
        norm = lambda: QKNorm(backbone.qk_norm, heads=backbone.heads, head_dim=backbone.head_dim)
        self.q_norm, self.k_norm = norm(), norm()
        self.table = nnx.Param(jnp.zeros((MODULATIONS, width)))

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
        modulation = [
            modulate_by(w.table, m) for w, m in zip(weights, shared.modulation, strict=True)
        ]
        joined = []
        for w, h_BLD, m, g in zip(weights, x, modulation, shared.group, strict=True):
            joined.append(w.project(modulated_norm(h_BLD, m[0], m[1], g).astype(w.dtype)))
        q, k, v = (join(Streams(*pair), axis=2) for pair in zip(*joined, strict=True))
        mixed = attend_with_history(
            q,
            k,
            v,
            rotation=shared.rotation,
            key_spans=shared.key_spans,
            history=shared.history,
            layer=layer,
            kernel=self.kernel,
        )
        mixed_BLD = rearrange(mixed.value, "B H L K -> B L (H K)")
        split = part(mixed_BLD, text=x.text.shape[1], axis=1)
        streams = zip(weights, x, split, modulation, shared.group, strict=True)
        return BlockOutput(Streams(*(_update(*stream) for stream in streams)), k, v)


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
