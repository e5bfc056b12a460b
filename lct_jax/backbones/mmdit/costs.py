"""Costs of a pass of the MMDiT: FLOPs by token, group and pair, and bytes of activations."""

from __future__ import annotations

import jax.numpy as jnp

from lct_jax.backbones.layers import MODULATIONS
from lct_jax.config import NetworkConfig
from lct_jax.costs.flops import Activations, Costs

# Arrays [tokens, width] of a block that are live at the peak of its backward pass, in the compute dtype. The number is
# measured on compiled programs (benchmarks/README.md): queries, keys, values and gradients, float32 copies counted as
# two, and what the compiler's layout leaves unused between them.
BLOCK_ARRAYS = 32
# Those of them that every block keeps where nothing is recomputed.
WHOLE_ARRAYS = 20
# The same for the forward pass of a block in sampling, by the width of the arrays.
FORWARD_ARRAYS, FORWARD_FLOATS = 14, 6
# Bytes of a float32.
FLOAT = 4


def count_costs(config: NetworkConfig) -> Costs:
    """Returns the costs of a forward pass; a multiply-add counts as two FLOPs."""
    backbone, size = config.backbone, jnp.dtype(config.compute.dtype).itemsize
    width, inner = backbone.width, backbone.heads * backbone.head_dim
    # Queries, keys, values and output of attention, then the two layers of the MLP.
    block = 4 * width * inner + 2 * backbone.mlp_ratio * width**2
    time = width * (backbone.time_features + width + 2 * MODULATIONS * width + 2 * width)
    array = width * size
    return Costs(
        video=2.0 * (backbone.depth * block + 2 * backbone.patch_channels * width),
        text=2.0 * (backbone.depth * block + backbone.text_width * width),
        slot=2.0 * time,
        # Scores and weighted values, in all heads and blocks.
        pair=2.0 * 2.0 * backbone.depth * inner,
        activations=Activations(
            carry=array,
            attended=inner * size,
            block=BLOCK_ARRAYS * array,
            whole=WHOLE_ARRAYS * array,
            forward=FORWARD_ARRAYS * array + FORWARD_FLOATS * width * FLOAT,
        ),
    )
