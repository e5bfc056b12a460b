"""Says how a network computes and over how many devices; this changes speed, memory and rounding alone."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Positive, settings

Context = Literal["full", "causal"]
Kernel = Literal["auto", "mosaic", "splash", "triton", "chunked"]
Remat = Literal["auto", "none", "block", "save_attention", "offload", "offload_input"]


@settings("compute")
class ComputeConfig:
    """Holds precision, kernels, recomputation and devices.

    Attributes:
        dtype: the dtype of the computation; parameters, norms, softmax, rotary embedding, modulation and loss are
            float32.
        kernel: the kernel of attention. "mosaic" is this project's for TPU, "splash" JAX's for TPU, "triton" this
            project's for GPU (elsewhere they are interpreted, slowly), "chunked" runs anywhere; "auto" takes "mosaic",
            "triton" or "chunked" for the platform.
        remat: what the backward pass computes again. "none": nothing; "block": each block; "save_attention": each block
            except the results of its attention kernel; "offload": the same, with these results kept in the host's
            memory; "offload_input": each block, with its input kept in the host's memory; "auto": what computes least
            again and fits the chips (docs/training.md). On a CPU nothing is moved, since its memory is the host's.
        seq_shards: the number of devices along the tokens of a row in training.
    """

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    kernel: Kernel = "auto"
    remat: Remat = "auto"
    seq_shards: Positive = 1
