"""The video MMDiT predicts the velocity of packed video tokens from their text and a diffusion time for each group.

The model knows of grids, packing and shots only through the `TokenIndex`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.attention.mask import KeySpans, divide_keys, find_spans
from lct_jax.attention.rope import make_rotation
from lct_jax.attention.ulysses import Streams, join, part
from lct_jax.attention.visibility import TableKeys
from lct_jax.backbones.layers import (
    MODULATIONS,
    float_linear,
    layer_norm,
    modulate,
    of_group,
    rms_norm,
    time_features,
)
from lct_jax.backbones.mmdit.blocks import Block, BlockInput, BlockOutput
from lct_jax.backbones.stack import run_blocks, stack_blocks
from lct_jax.config import Context, DualStreamConfig, NetworkConfig
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


class TimeModulation(nnx.Module):
    """Makes modulation vectors of each group's time, in float32 throughout; they are zero at initialisation."""

    def __init__(self, config: DualStreamConfig, *, rngs: nnx.Rngs) -> None:
        width = config.width
        zero = nnx.initializers.zeros_init()
        self.features = config.time_features
        self.embed_in = float_linear(config.time_features, width, rngs=rngs)
        self.embed_out = float_linear(width, width, rngs=rngs)
        self.text = float_linear(width, MODULATIONS * width, kernel_init=zero, rngs=rngs)
        self.video = float_linear(width, MODULATIONS * width, kernel_init=zero, rngs=rngs)
        self.final = float_linear(width, 2 * width, kernel_init=zero, rngs=rngs)

    def __call__(self, time_BS: jax.Array) -> tuple[Streams, jax.Array]:
        """Returns Streams of [B S 6 D] for the blocks, and [B S 2 D] (shift, scale) for the output layer."""
        hidden = nnx.silu(self.embed_in(time_features(time_BS, self.features)))
        hidden = nnx.silu(self.embed_out(hidden))
        # Without this, the partitioner would shard D as the kernels are sharded, and gather it in every block.
        split = lambda x, n: shard(x.reshape(*x.shape[:-1], n, -1), "BS6D")
        streams = Streams(*(split(f(hidden), MODULATIONS) for f in (self.text, self.video)))
        return streams, split(self.final(hidden), 2)


class MMDiT(nnx.Module):
    """The dual-stream backbone of the paper; see `lct_jax.backbones.protocol.Backbone`."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs) -> None:
        backbone, dtype = config.backbone, jnp.dtype(config.compute.dtype)
        width, channels = backbone.width, backbone.patch_channels
        self.config, self.dtype = config, dtype
        self.video_in = nnx.Linear(channels, width, dtype=dtype, rngs=rngs)
        self.text_in = nnx.Linear(backbone.text_width, width, dtype=dtype, rngs=rngs)
        self.time = TimeModulation(backbone, rngs=rngs)
        self.blocks = stack_blocks(Block, config, rngs=rngs)
        self.video_out = float_linear(
            width,
            channels,
            kernel_init=nnx.initializers.zeros_init(),
            rngs=rngs,
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

        The keys of a history are read in place: none of it is copied or masked.
        """
        modulation, final_BS2D = self.time(time_BS)
        shared = self._share(modulation, video.index, text.index, context=context, history=history)
        x = self._embed(video, text)

        def run(block: Block, x: Streams, layer: jax.Array) -> tuple[Streams, KeyValues | None]:
            out = block(x, shared, layer)
            return out.x, _part_keys(out, text=text.value.shape[1]) if keep else None

        x, kept = run_blocks(self.blocks, x, run, self.config, differentiable=history is None)
        return Prediction(self._read_out(x.video, video.index.slot, final_BS2D), kept)

    def _share(
        self,
        modulation: Streams,
        video: TokenIndex,
        text: TokenIndex,
        *,
        context: Context | Visibility,
        history: History | None,
    ) -> BlockInput:
        index = TokenIndex(
            *(join(Streams(*pair), axis=1) for pair in zip(text, video, strict=True))
        )
        # Every device of a row has the whole index, so that sorting is sharded over rows alone.
        whole = shard_rows(index)
        split, base = self.config.backbone.rope_split, self.config.backbone.rope_base
        return BlockInput(
            modulation=modulation,
            rotation=make_rotation(index.coord, split=split, base=base),
            key_spans=self._find_keys(whole, Streams(text, video), context),
            group=Streams(text.slot, video.slot),
            history=history,
        )

    def _find_keys(
        self, index: TokenIndex, streams: Streams, context: Context | Visibility
    ) -> tuple[KeySpans, ...] | TableKeys:
        """Returns which of the joined tokens each sees, by tables, or by the context and `layout.prompts`; `streams`
        are the indices of text and video.
        """
        marks = (
            jnp.full_like(i.scene, text, bool)
            for i, text in zip(streams, (True, False), strict=True)
        )
        is_text_BL = join(Streams(*marks), axis=1)
        if isinstance(context, Visibility):
            shown = jnp.broadcast_to(context.shown_BL, streams.video.scene.shape)
            hidden = jnp.zeros_like(streams.text.scene, bool)
            return TableKeys(index, join(Streams(hidden, shown), axis=1), ~is_text_BL, context)
        if self.config.layout.prompts == "all":
            return shard_rows((find_spans(index, index, context),))
        common, prompts = divide_keys(index, is_text_BL)
        return shard_rows((find_spans(index, common, context), find_spans(index, prompts, "own")))

    def _embed(self, video: Tokens, text: Tokens) -> Streams:
        return Streams(
            shard(self.text_in(text.value), "BLD"), shard(self.video_in(video.value), "BLD")
        )

    def _read_out(self, x_BLD: jax.Array, group_BL: jax.Array, final_BS2D: jax.Array) -> jax.Array:
        norm = layer_norm if self.config.backbone.final_norm == "layer" else rms_norm
        shift, scale = (of_group(final_BS2D[:, :, part], group_BL) for part in range(2))
        return self.video_out(modulate(norm(x_BLD), shift, scale))


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
        keeps_text=config.layout.prompts == "all",
    )
    return BackboneSpec(backbone.channels, backbone.patch, backbone.text_width, cache)


def _part_keys(out: BlockOutput, *, text: int) -> KeyValues:
    """Returns keys and values of a block with all text tokens before all video tokens."""
    parts = (part(x, text=text, axis=2) for x in (out.k, out.v))
    return KeyValues(*(jnp.concatenate(streams, axis=2) for streams in parts))
