"""How a network computes and over how many devices: it changes speed, memory and rounding, and nothing else."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Positive, settings

Context = Literal["full", "causal"]
Kernel = Literal["auto", "splash", "triton", "chunked"]


@settings("compute")
class ComputeConfig:
    """Precision, kernels, recomputation and devices.

    Attributes:
        dtype: of the computation; parameters, norms, softmax, rotary embedding, modulation and loss are float32.
        kernel: of attention. "splash" is JAX's for TPU, "triton" is ours for GPU (elsewhere they are interpreted,
            slowly), "chunked" runs anywhere; "auto" takes what the platform has.
        remat: what the backward pass computes again. "none": nothing; "block": each block; "save_attention": each
            block but what its attention kernel gave; "offload": the same, kept in the host's memory meanwhile.
        seq_shards: devices along the tokens of a row in training.
    """

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    kernel: Kernel = "auto"
    remat: Literal["none", "block", "save_attention", "offload"] = "block"
    seq_shards: Positive = 1
