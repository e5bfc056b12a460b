"""One block of Wan: self-attention over video, cross-attention to text, MLP (arXiv 2503.20314, section 4.2).

Self-attention and MLP are modulated and gated by the time of a token's group: all blocks share six vectors, and each
block adds a learned table to them. Before cross-attention there is a LayerNorm with weights; it has no gate.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from lct_jax.attention.attend import attend
from lct_jax.attention.chunked import merge
from lct_jax.attention.mask import KeySpans
from lct_jax.attention.rope import Rotation
from lct_jax.attention.visibility import TableKeys
from lct_jax.backbones.layers import (
    MODULATIONS,
    attend_with_history,
    gated,
    gated_apart,
    gelu,
    layer_norm,
    modulate_by,
    modulated_norm,
    modulated_norm_apart,
    project_tokens,
    recomputed,
    rms_norm,
)
from lct_jax.backbones.wan.context import attend_to_zeros
from lct_jax.config import NetworkConfig
from lct_jax.distributed.sharding import shard
from lct_jax.types import History

# How tokens are normalised and gated. A barrier takes memory from the step of a LoRA; with all weights trained it was
# not compiled, and adds some in the family `mmdit` (benchmarks/README.md).
TRAINED, FROZEN = (modulated_norm, gated), (modulated_norm_apart, gated_apart)


class BlockInput(NamedTuple):
    """The inputs that all blocks of a forward pass share.

    Attributes:
        modulation: float32[B S 6 D], before the block's own table is added.
        rotation: the rotation of video tokens.
        key_spans: which video tokens every video token sees, or tables that say it.
        slot: int32[B L], the group slot of every video token.
        text: [B M D], the embedded text of the row.
        text_spans: which tokens of it every video token reads.
        empty: [1 1 D], one of the zeros behind a prompt.
        missing: float32[B L], the logarithm of the number of these zeros.
        history: cached keys of all layers, which every token sees too; None for a pass without a cache.
    """

    modulation: jax.Array
    rotation: Rotation
    key_spans: tuple[KeySpans, ...] | TableKeys
    slot: jax.Array
    text: jax.Array
    text_spans: KeySpans
    empty: jax.Array
    missing: jax.Array
    history: History | None


class BlockOutput(NamedTuple):
    """The output of a block: video tokens [B L D], and their keys (not yet rotated) and values, [B H L K]."""

    x: jax.Array
    k: jax.Array
    v: jax.Array


class Attention(nnx.Module):
    """Projections of queries, keys, values and output, with RMSNorm of queries and keys over all heads."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        backbone = config.backbone
        dense = lambda: _dense(config, backbone.width, backbone.width, rngs=rngs)
        norm = lambda: WidthNorm(backbone.heads, backbone.head_dim)
        self.heads = backbone.heads
        self.q, self.k, self.v, self.o = dense(), dense(), dense(), dense()
        self.q_norm, self.k_norm = norm(), norm()

    def queries(self, x_BLD: jax.Array) -> jax.Array:
        """Returns normalised queries [B H L K]."""
        return self._split(self.q_norm(project_tokens(self.q, x_BLD)))

    def keys_and_values(self, x_BLD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns normalised keys and values [B H L K]."""
        keys = self.k_norm(project_tokens(self.k, x_BLD))
        return self._split(keys), self._split(project_tokens(self.v, x_BLD))

    def output(self, mixed_BHLK: jax.Array) -> jax.Array:
        """Returns the output of attention, [B L D]."""
        return project_tokens(self.o, rearrange(mixed_BHLK, "B H L K -> B L (H K)"))

    def _split(self, x_BLD: jax.Array) -> jax.Array:
        return rearrange(x_BLD, "B L (H K) -> B H L K", H=self.heads)


class WidthNorm(nnx.Module):
    """Learned RMSNorm of queries or keys over all heads, before these are split.

    On the split array it would be computed on float32 copies that a TPU pads from 12 heads to 16.
    """

    def __init__(self, heads: int, head_dim: int) -> None:
        self.scale = nnx.Param(jnp.ones((heads, 1, head_dim)))

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        norm = recomputed(lambda x, scale: rms_norm(x) * scale)
        return norm(x_BLD, self.scale[...].reshape(1, 1, -1)).astype(x_BLD.dtype)


class AffineNorm(nnx.Module):
    """LayerNorm with weights, computed and returned in float32."""

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
        self.frozen = config.lora.rank > 0
        self.attention = Attention(config, rngs=rngs)
        self.cross_norm = AffineNorm(backbone.width)
        self.cross = Attention(config, rngs=rngs)
        self.up = _dense(config, backbone.width, backbone.hidden, rngs=rngs)
        self.down = _dense(config, backbone.hidden, backbone.width, rngs=rngs)
        self.table = nnx.Param(jnp.zeros((MODULATIONS, backbone.width)))

    def __call__(self, x_BLD: jax.Array, shared: BlockInput, layer: jax.Array) -> BlockOutput:
        """Returns the output of the block; `x_BLD` is in the compute dtype.

        Args:
            shared: the inputs that all blocks share.
            layer: int32, the number of this block, which selects its keys in `shared.history`.
        """
        m = modulate_by(self.table, shared.modulation)
        norm_by_group, gate = FROZEN if self.frozen else TRAINED
        slot_BL, cast = shared.slot, lambda x: x.astype(self.dtype)
        norm = cast(norm_by_group(x_BLD, m[0], m[1], slot_BL))
        k, v = self.attention.keys_and_values(norm)
        mixed = attend_with_history(
            self.attention.queries(norm),
            k,
            v,
            rotation=shared.rotation,
            key_spans=shared.key_spans,
            history=shared.history,
            layer=layer,
            kernel=self.kernel,
        )
        x_BLD = x_BLD + cast(gate(self.attention.output(mixed.value), m[2], slot_BL))
        x_BLD = x_BLD + self._read_text(cast(self.cross_norm(x_BLD)), shared)
        norm = cast(norm_by_group(x_BLD, m[3], m[4], slot_BL))
        hidden = project_tokens(self.down, gelu(project_tokens(self.up, norm)))
        return BlockOutput(shard(x_BLD + cast(gate(hidden, m[5], slot_BL)), "BLD"), k, v)

    def _read_text(self, norm_BLD: jax.Array, shared: BlockInput) -> jax.Array:
        """Returns cross-attention to the text of a token's group, and to the zeros behind it."""
        q = self.cross.queries(norm_BLD)
        k, v = self.cross.keys_and_values(shared.text)
        text = attend(q, k, v, spans=shared.text_spans, kernel=self.kernel)
        empty = self.cross.keys_and_values(shared.empty)
        zeros = attend_to_zeros(q, *empty, shared.missing, apart=self.frozen)
        return self.cross.output(merge(text, zeros).value)


def _dense(config: NetworkConfig, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        inputs,
        outputs,
        dtype=jnp.dtype(config.compute.dtype),
        kernel_init=nnx.initializers.xavier_uniform(),
        rngs=rngs,
    )
