"""What a pass of Wan costs: FLOPs by token, group and pair, and bytes of activations."""

from __future__ import annotations

import jax.numpy as jnp

from lct_jax.backbones.layers import MODULATIONS
from lct_jax.config import NetworkConfig
from lct_jax.costs.flops import Activations, Costs

# Arrays [video tokens, width] that a block takes, in the compute dtype, that is, at its widest in the backward pass,
# and what it keeps where nothing is recomputed. Both are fitted to programs compiled for TPU, all of a network or a
# LoRA trained (benchmarks/README.md).
BLOCK_ARRAYS, WHOLE_ARRAYS = 28, 30
# The same for arrays [video tokens, hidden] of the MLP.
BLOCK_HIDDEN, WHOLE_HIDDEN = 3, 1
LORA_HIDDEN = 2  # in place of BLOCK_HIDDEN where a LoRA is trained
FORWARD_ARRAYS, FORWARD_FLOATS = 18, 6
FLOAT = 4  # bytes


def count_costs(config: NetworkConfig) -> Costs:
    """Returns the costs of a forward pass; a multiply-add counts as two FLOPs."""
    backbone, size = config.backbone, jnp.dtype(config.compute.dtype).itemsize
    width = backbone.width
    # Queries, keys, values and output of self-attention, queries and output of cross-attention, the MLP.
    block = 6 * width**2 + 2 * width * backbone.hidden
    text = width * (backbone.text_width + width) + backbone.depth * 2 * width**2
    time = width * (backbone.time_features + width + MODULATIONS * width)
    pair = 2.0 * 2.0 * backbone.depth * width  # scores and weighted values, in all heads and blocks
    array, hidden = width * size, backbone.hidden * size
    at_once = LORA_HIDDEN if config.lora.rank else BLOCK_HIDDEN
    return Costs(
        video=2.0 * (backbone.depth * block + 2 * backbone.patch_channels * width),
        text=2.0 * text,
        slot=2.0 * time,
        pair=pair,
        activations=Activations(
            carry=array,
            attended=2 * array,
            block=BLOCK_ARRAYS * array + at_once * hidden,
            whole=WHOLE_ARRAYS * array + WHOLE_HIDDEN * hidden,
            forward=FORWARD_ARRAYS * array + FORWARD_FLOATS * width * FLOAT,
        ),
        text_place=backbone.text,
    )
