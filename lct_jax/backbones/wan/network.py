"""Wan's video transformer: self-attention over all video of a scene, and text beside it by cross-attention.

For one shot alone it computes what the published model computes for a clip (arXiv 2503.20314; the tests compare it
with diffusers' `WanTransformer3DModel`). With several shots, the index says which video tokens see each other; every
shot is modulated by its own time and reads the text of its own group. Only video tokens are rotated, so attention
depends on differences of positions alone. SkyReels-V2 (arXiv 2504.13074) is the same network; at 1.3B it is told the
frame rate.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.attention.mask import KeySpans, find_spans
from lct_jax.attention.rope import make_rotation
from lct_jax.attention.visibility import TableKeys
from lct_jax.backbones.layers import (
    MODULATIONS,
    float_linear,
    gelu,
    layer_norm,
    modulate,
    of_group,
    project_tokens,
    time_features,
)
from lct_jax.backbones.stack import run_blocks, stack_blocks
from lct_jax.backbones.wan.blocks import Block, BlockInput
from lct_jax.backbones.wan.context import find_context
from lct_jax.config import Context, NetworkConfig, WanConfig
from lct_jax.config.backbone import FRAME_RATES
from lct_jax.distributed.sharding import shard, shard_rows
from lct_jax.types import (
    BackboneSpec,
    CacheSpec,
    History,
    KeyValues,
    Prediction,
    TokenIndex,
    Tokens,
    Visibility,
)


class TimeEmbedding(nnx.Module):
    """Embeds the time of each group, and the frame rate where the network is told it, in float32 throughout."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        width = config.width
        self.features = config.time_features
        self.embed_in = float_linear(config.time_features, width, rngs=rngs)
        self.embed_out = float_linear(width, width, rngs=rngs)
        self.project = float_linear(width, MODULATIONS * width, rngs=rngs)
        self.fps = config.fps
        if self.fps:
            draw, zeros = nnx.initializers.normal(0.02), nnx.initializers.zeros_init()
            self.rates = nnx.Param(draw(rngs.params(), (len(FRAME_RATES), width), jnp.float32))
            self.rate_in = float_linear(width, width, rngs=rngs)
            self.rate_out = float_linear(width, MODULATIONS * width, kernel_init=zeros, rngs=rngs)

    def __call__(self, time_BS: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns [B S 6 D] for the blocks, and the embedding itself, [B S D], for the output layer."""
        hidden = nnx.silu(self.embed_in(time_features(time_BS, self.features)))
        embedded_BSD = self.embed_out(hidden)
        shared = self.project(nnx.silu(embedded_BSD))
        if self.fps:
            rate_11D = self.rates[...][None, None, FRAME_RATES.index(self.fps)]
            shared = shared + self.rate_out(nnx.silu(self.rate_in(rate_11D)))
        # Without this, the partitioner would shard D as the kernels are sharded, and gather it in every block.
        split = lambda x, n: shard(x.reshape(*x.shape[:2], n, -1), "BS6D")
        return split(shared, MODULATIONS), split(embedded_BSD, 1)[:, :, 0]


class Wan(nnx.Module):
    """Wan's backbone; see `lct_jax.backbones.protocol.Backbone`."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        backbone, dtype = config.backbone, jnp.dtype(config.compute.dtype)
        width, channels = backbone.width, backbone.patch_channels
        self.config, self.dtype = config, dtype
        self.video_in = nnx.Linear(channels, width, dtype=dtype, rngs=rngs)
        self.text_in = nnx.Linear(backbone.text_width, width, dtype=dtype, rngs=rngs)
        self.text_out = nnx.Linear(width, width, dtype=dtype, rngs=rngs)
        self.time = TimeEmbedding(backbone, rngs=rngs)
        self.blocks = stack_blocks(Block, config, rngs=rngs)
        self.table = nnx.Param(jnp.zeros((2, width)))
        self.video_out = float_linear(
            width, channels, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def __call__(
        self,
        video: Tokens,
        text: Tokens,
        time_BS: jax.Array,
        *,
        context: Context | Visibility,
        history: History | None = None,
        keep: bool = False,
    ) -> Prediction:
        """Predicts the velocity of every video token; see `lct_jax.backbones.protocol.Backbone`.

        The keys and values that a prediction keeps are those of video tokens.
        """
        modulation, embedded_BSD = self.time(time_BS)
        shared = self._share(modulation, video.index, text, context=context, history=history)
        x = shard(project_tokens(self.video_in, video.value.astype(self.dtype)), "BLD")

        def run(block: Block, x: jax.Array, layer: jax.Array) -> tuple[jax.Array, KeyValues | None]:
            out = block(x, shared, layer)
            return out.x, KeyValues(out.k, out.v) if keep else None

        x, kept = run_blocks(self.blocks, x, run, self.config, differentiable=history is None)
        return Prediction(self._read_out(x, video.index.slot, embedded_BSD), kept)

    def _share(
        self,
        modulation: jax.Array,
        index: TokenIndex,
        text: Tokens,
        *,
        context: Context | Visibility,
        history: History | None,
    ) -> BlockInput:
        backbone = self.config.backbone
        # Every device of a row has the whole index, so that sorting is sharded over rows alone.
        whole, text_index = shard_rows(index), shard_rows(text.index)
        context_spans, missing_BL = find_context(whole, text_index, places=backbone.text_places)
        empty = jnp.zeros((1, 1, backbone.text_width), self.dtype)
        return BlockInput(
            modulation=modulation,
            rotation=make_rotation(index.coord, split=backbone.rope_split, base=backbone.rope_base),
            key_spans=_find_keys(whole, context),
            slot=index.slot,
            text=shard(self._embed_text(text.value.astype(self.dtype)), "BLD"),
            text_spans=shard_rows(context_spans),
            empty=self._embed_text(empty),
            missing=shard(missing_BL, "BL"),
            history=history,
        )

    def _embed_text(self, text_BLE: jax.Array) -> jax.Array:
        """Returns the text that the blocks read, [B L D]; the zeros behind a prompt pass through it as well."""
        hidden = gelu(project_tokens(self.text_in, text_BLE))
        return project_tokens(self.text_out, hidden)

    def _read_out(self, x_BLD: jax.Array, slot_BL: jax.Array, embedded_BSD: jax.Array) -> jax.Array:
        # The table is added to the embedding itself, and not to the modulation of the blocks.
        shift, scale = (
            of_group(embedded_BSD + row[None, None], slot_BL) for row in self.table[...]
        )
        return self.video_out(modulate(layer_norm(x_BLD), shift, scale))


def _find_keys(
    index: TokenIndex, context: Context | Visibility
) -> tuple[KeySpans, ...] | TableKeys:
    """Returns which video tokens each sees, by the context or by tables."""
    if isinstance(context, Visibility):
        shown = jnp.broadcast_to(context.shown_BL, index.scene.shape)
        return TableKeys(index, shown, jnp.ones_like(shown), context)
    spans = find_spans(index, index, context)
    return (shard_rows(spans),)


def describe(config: NetworkConfig) -> BackboneSpec:
    """Returns what data, sampling and cache need to know of the network."""
    backbone = config.backbone
    cache = CacheSpec(
        layers=backbone.depth,
        heads=backbone.heads,
        head_dim=backbone.head_dim,
        dtype=config.compute.dtype,
        rope_split=backbone.rope_split,
        rope_base=backbone.rope_base,
        keeps_text=False,
    )
    return BackboneSpec(
        backbone.channels, backbone.patch, backbone.text_width, cache, text=backbone.text
    )
