"""The video MMDiT predicts the velocity of packed video tokens from their text and a diffusion time for each group.

The model knows of grids, packing and shots only through the `TokenIndex`. Blocks are stacked along a layer axis and
scanned, so that 3 layers and 28 compile equally fast; each may be recomputed in the backward pass.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from lct_jax.attention.chunked import ATTENDED
from lct_jax.attention.mask import KeySpans, divide_keys, find_spans
from lct_jax.attention.rope import make_rotation
from lct_jax.attention.ulysses import Streams, join, part
from lct_jax.backbones.mmdit.blocks import (
    MODULATIONS,
    Block,
    BlockInput,
    BlockOutput,
    layer_norm,
    modulate,
    of_group,
    rms_norm,
)
from lct_jax.config import Context, DualStreamConfig, NetworkConfig
from lct_jax.distributed.sharding import shard, shard_heads
from lct_jax.types import (
    BackboneSpec,
    CacheSpec,
    History,
    KeyValues,
    Prediction,
    TokenIndex,
    Tokens,
)

# Flow time is 0 to 1; the sinusoids of diffusion models were made for times on this scale.
TIME_SCALE = 1000.0
TIME_BASE = 10_000.0

# The checkpoint policies of a block, by the config's names (`compute.remat`).
POLICIES = {
    "block": jax.checkpoint_policies.nothing_saveable,
    "save_attention": jax.checkpoint_policies.save_only_these_names(ATTENDED),
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[ATTENDED],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}

# The number of a layer and its weights.
Numbered = tuple[jax.Array, nnx.State]


def time_features(time_BS: jax.Array, width: int) -> jax.Array:
    """Returns sinusoidal features of diffusion time (DDPM, arXiv 2006.11239), float32[B S width], cosines first."""
    half = width // 2
    rate = TIME_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = time_BS.astype(jnp.float32)[..., None] * TIME_SCALE * rate[None, None]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


# A layer that is float32 on every platform; TPU and GPU would round the inputs of a product to bfloat16 or TF32.
float_linear = functools.partial(nnx.Linear, precision=jax.lax.Precision.HIGHEST)


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
        self.blocks = _stack_blocks(config, rngs)
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
        context: Context,
        history: History | None = None,
        keep: bool = False,
    ) -> Prediction:
        """Predicts the velocity of every video token; see `lct_jax.backbones.protocol.Backbone`.

        The keys of a history are read in place: none of it is copied or masked.
        """
        modulation, final_BS2D = self.time(time_BS)
        shared = self._share(modulation, video.index, text.index, context=context, history=history)
        x = self._embed(video, text)
        graph, layers = nnx.split(self.blocks)

        def run_block(carry: Streams, numbered: Numbered) -> tuple[Streams, KeyValues | None]:
            out = nnx.merge(graph, numbered[1])(carry, shared, numbered[0])
            return out.x, _part_keys(out, text=text.value.shape[1]) if keep else None

        remat = self.config.compute.remat
        if remat != "none" and history is None:
            run_block = jax.checkpoint(run_block, prevent_cse=False, policy=POLICIES[remat])
        x, kept = jax.lax.scan(run_block, x, (jnp.arange(self.config.backbone.depth), layers))
        if kept is not None:
            kept = KeyValues(*(shard_heads(part, "NBHLK") for part in kept))
        return Prediction(self._read_out(x.video, video.index.slot, final_BS2D), kept)

    def _share(
        self,
        modulation: Streams,
        video: TokenIndex,
        text: TokenIndex,
        *,
        context: Context,
        history: History | None,
    ) -> BlockInput:
        index = TokenIndex(
            *(join(Streams(*pair), axis=1) for pair in zip(text, video, strict=True))
        )
        # Every device of a row has the whole index, so that sorting is sharded over rows alone.
        rows = lambda tree: jax.tree.map(lambda leaf: shard(leaf, "B"), tree)
        whole = rows(index)
        split, base = self.config.backbone.rope_split, self.config.backbone.rope_base
        return BlockInput(
            modulation=modulation,
            rotation=make_rotation(index.coord, split=split, base=base),
            key_spans=rows(self._find_key_spans(whole, Streams(text, video), context)),
            group=Streams(text.slot, video.slot),
            history=history,
        )

    def _find_key_spans(
        self, index: TokenIndex, streams: Streams, context: Context
    ) -> tuple[KeySpans, ...]:
        """Returns which of the joined tokens each sees, by `layout.prompts`; `streams` are the indices of text and
        video.
        """
        if self.config.layout.prompts == "all":
            return (find_spans(index, index, context),)
        marks = (
            jnp.full_like(i.scene, text, bool)
            for i, text in zip(streams, (True, False), strict=True)
        )
        common, prompts = divide_keys(index, join(Streams(*marks), axis=1))
        return find_spans(index, common, context), find_spans(index, prompts, "own")

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


def _stack_blocks(config: NetworkConfig, rngs: nnx.Rngs) -> Block:
    @nnx.split_rngs(splits=config.backbone.depth)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def create(rngs: nnx.Rngs) -> Block:
        return Block(config, rngs=rngs)

    return create(rngs)
