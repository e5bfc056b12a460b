"""One block of Wan: self-attention over video, cross-attention to text, MLP (arXiv 2503.20314, section 4.2).

Self-attention and MLP are modulated and gated by the time of a token's group: six vectors, shared by all blocks but for
a learned table a block. Cross-attention has a LayerNorm with weights of its own before it, and no gate.
"""

from __future__ import annotations

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
from lct_jax.backbones.layers import (
    QKNorm,
    gated,
    gelu,
    layer_norm,
    modulated_norm,
    project_tokens,
    recomputed,
)
from lct_jax.backbones.wan.context import attend_to_zeros
from lct_jax.config import NetworkConfig
from lct_jax.distributed.sharding import shard, shard_heads
from lct_jax.types import History

MODULATIONS = 6  # shift, scale and gate of self-attention, then of the MLP


class BlockInput(NamedTuple):
    """What all blocks of a forward pass share.

    Attributes:
        modulation: float32[B S 6 D], before the block's own table is added.
        rotation: of video tokens. key_spans: what every video token sees of them. slot: int32[B L], of video tokens.
        text: [B M D]. text_spans: what every video token reads of it.
        empty: [1 1 D], one of the zeros behind a prompt. missing: float32[B L], the logarithm of how many there are.
        history: what every token sees besides, of all layers; None where a pass has no cache.
    """

    modulation: jax.Array
    rotation: Rotation
    key_spans: KeySpans
    slot: jax.Array
    text: jax.Array
    text_spans: KeySpans
    empty: jax.Array
    missing: jax.Array
    history: History | None


class BlockOutput(NamedTuple):
    """Video tokens [B L D], and their keys (before rotation) and values in self-attention, [B H L K]."""

    x: jax.Array
    k: jax.Array
    v: jax.Array


class Attention(nnx.Module):
    """Projections of queries, keys, values and output, with RMSNorm of queries and keys over all heads."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        backbone = config.backbone
        dense = lambda: _dense(config, backbone.width, backbone.width, rngs=rngs)
        norm = lambda: QKNorm("all", heads=backbone.heads, head_dim=backbone.head_dim)
        self.heads = backbone.heads
        self.q, self.k, self.v, self.o = dense(), dense(), dense(), dense()
        self.q_norm, self.k_norm = norm(), norm()

    def queries(self, x_BLD: jax.Array) -> jax.Array:
        """Returns normalised queries [B H L K]."""
        return self.q_norm(self._split(self.q, x_BLD))

    def keys_and_values(self, x_BLD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns normalised keys and values [B H L K]."""
        return self.k_norm(self._split(self.k, x_BLD)), self._split(self.v, x_BLD)

    def output(self, mixed_BHLK: jax.Array) -> jax.Array:
        """Returns what attention adds, [B L D]."""
        return project_tokens(self.o, rearrange(mixed_BHLK, "B H L K -> B L (H K)"))

    def _split(self, layer: nnx.Linear, x_BLD: jax.Array) -> jax.Array:
        return rearrange(project_tokens(layer, x_BLD), "B L (H K) -> B H L K", H=self.heads)


class AffineNorm(nnx.Module):
    """LayerNorm with weights, float32 in and out."""

    def __init__(self, width: int) -> None:
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        norm = recomputed(lambda x, scale, bias: layer_norm(x) * scale + bias)
        return norm(x_BLD, self.scale[...][None, None], self.bias[...][None, None])


class Block(nnx.Module):
    """The weights of one block, and its residual update."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        backbone = config.backbone
        self.kernel, self.dtype = config.compute.kernel, jnp.dtype(config.compute.dtype)
        self.attention = Attention(config, rngs=rngs)
        self.cross_norm = AffineNorm(backbone.width)
        self.cross = Attention(config, rngs=rngs)
        self.up = _dense(config, backbone.width, backbone.hidden, rngs=rngs)
        self.down = _dense(config, backbone.hidden, backbone.width, rngs=rngs)
        self.table = nnx.Param(jnp.zeros((MODULATIONS, backbone.width)))

    def __call__(self, x_BLD: jax.Array, shared: BlockInput, layer: jax.Array) -> BlockOutput:
        """Returns the video behind the block, `x_BLD` being in the compute dtype.

        Args:
            layer: int32, number of this block: its keys in `shared.history`.
        """
        table_BS6D = shared.modulation + self.table[...][None, None]
        m = [table_BS6D[:, :, part] for part in range(MODULATIONS)]
        slot_BL, cast = shared.slot, lambda x: x.astype(self.dtype)
        norm = cast(modulated_norm(x_BLD, m[0], m[1], slot_BL))
        k, v = self.attention.keys_and_values(norm)
        mixed = self._mix(self.attention.queries(norm), k, v, shared, layer)
        x_BLD = x_BLD + cast(gated(self.attention.output(mixed.value), m[2], slot_BL))
        x_BLD = x_BLD + self._read_text(cast(self.cross_norm(x_BLD)), shared)
        norm = cast(modulated_norm(x_BLD, m[3], m[4], slot_BL))
        hidden = project_tokens(self.down, gelu(project_tokens(self.up, norm)))
        return BlockOutput(shard(x_BLD + cast(gated(hidden, m[5], slot_BL)), "BLD"), k, v)

    def _mix(
        self,
        q_BHLK: jax.Array,
        k_BHLK: jax.Array,
        v_BHLK: jax.Array,
        shared: BlockInput,
        layer: jax.Array,
    ) -> AttentionOutput:
        """Attention over video that a token sees and over the history; they merge by log-sum-exp."""
        q, k = rotate(q_BHLK, shared.rotation), rotate(k_BHLK, shared.rotation)
        own = attend(q, k, v_BHLK, spans=shared.key_spans, kernel=self.kernel)
        if shared.history is None:
            return own
        return merge(own, attend_history(shard_heads(q, "BHLK"), shared.history, layer))

    def _read_text(self, norm_BLD: jax.Array, shared: BlockInput) -> jax.Array:
        """Cross-attention to the text of a token's group, and to the zeros behind it."""
        q = self.cross.queries(norm_BLD)
        k, v = self.cross.keys_and_values(shared.text)
        text = attend(q, k, v, spans=shared.text_spans, kernel=self.kernel)
        zeros = attend_to_zeros(q, *self.cross.keys_and_values(shared.empty), shared.missing)
        return self.cross.output(merge(text, zeros).value)


def _dense(config: NetworkConfig, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        inputs,
        outputs,
        dtype=jnp.dtype(config.compute.dtype),
        kernel_init=nnx.initializers.xavier_uniform(),
        rngs=rngs,
    )
