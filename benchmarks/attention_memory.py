"""Asks the compiler for the memory of attention's forward and backward pass on one chip; no TPU or GPU is needed.

    python -m benchmarks.attention_memory --topology=v6e:2x2 --kernels=splash,chunked
    python -m benchmarks.attention_memory --gpu_spec=h100_sxm.txtpb --kernels=triton,chunked,dense,stock_triton

For TPU it needs libtpu; for GPU it needs jax-cuda12-plugin and jax-cuda12-pjrt of JAX's version, installed with
`--no-deps`, and a description of the chip as XLA's compiler takes it:
`xla/backends/gpu/target_config/specs/h100_sxm.txtpb` of its repository. Queries, keys and values of one row are
bfloat16, boundaries are run-time values, and the printed size is the chip's memory without inputs and gradients. The
kernels are those of `compute.kernel`, the dense reference, and those of JAX that the project does not use: its Triton
kernel, its Mosaic kernel, and cuDNN.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A machine without a TPU has no metadata server to ask.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.experimental import topologies

from lct_jax.attention.attend import attend, attend_dense
from lct_jax.attention.mask import find_spans, visible
from lct_jax.distributed.sharding import make_mesh
from lct_jax.types import TokenIndex

TOPOLOGY = flags.DEFINE_string("topology", "v6e:2x2", "Slice of TPU; one chip of it is used.")
GPU_SPEC = flags.DEFINE_string("gpu_spec", None, "File that describes a GPU; in place of a TPU.")
KERNELS = flags.DEFINE_list("kernels", ["splash", "chunked"], "What to compile.")
LENGTHS = flags.DEFINE_list("lengths", ["8192", "16384"], "Tokens of a row.")
HEADS = flags.DEFINE_integer("heads", 4, "Heads on the chip.")
HEAD_DIM = flags.DEFINE_integer("head_dim", 128, "Width of a head.")
CONTEXT = flags.DEFINE_enum("context", "causal", ["full", "causal"], "Over shots.")

Mix = Callable[..., jax.Array]


def main(argv: Sequence[str]) -> None:
    del argv
    mesh = make_mesh(devices=[_find_device()])
    for name in KERNELS.value:
        for length in map(int, LENGTHS.value):
            start = time.time()
            try:
                program = _compile(_choose(name), length, mesh)
            except Exception as error:  # a kernel that does not compile is a result here
                print(f"{name:>12} {length:>8} tokens: {type(error).__name__}: {str(error)[:200]}")
                continue
            memory = program.memory_analysis().temp_size_in_bytes / 2**20
            print(f"{name:>12} {length:>8} tokens: {memory:9.1f} MiB ({time.time() - start:.0f} s)")


def _find_device() -> Any:
    if GPU_SPEC.value is None:
        found = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY.value)
    else:
        with open(GPU_SPEC.value) as file:
            options = {"target_config": file.read(), "topology": "1x1x1"}
        found = topologies.get_topology_desc(platform="cuda", **options)
    return found.devices[0]


def _compile(mix: Mix, length: int, mesh: jax.sharding.Mesh) -> jax.stages.Compiled:
    shape = (1, HEADS.value, length, HEAD_DIM.value)
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    of = lambda shape, dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
    number = of((1, length), np.int32)
    index = TokenIndex(number, number, number, of((1, length, 3), np.int32))

    def loss(qkv: tuple[jax.Array, ...], index: TokenIndex) -> jax.Array:
        return mix(*qkv, index).astype(jnp.float32).sum()

    with jax.set_mesh(mesh):
        step = jax.jit(jax.grad(loss))
        return step.lower((of(shape, jnp.bfloat16),) * 3, index).compile()


def _choose(name: str) -> Mix:
    """Returns a kernel as a function of queries, keys, values [B H L K] and the index."""
    turn = lambda x: x.swapaxes(1, 2)  # between [B H L K] and [B L H K]
    context, scale = CONTEXT.value, HEAD_DIM.value**-0.5
    if name == "dense":
        return lambda q, k, v, index: attend_dense(q, k, v, visible(index, index, context)).value
    # This kernel separates scenes alone: it is neither causal over shots nor skips blocks.
    if name == "stock_triton":
        from jax.experimental.pallas.ops.gpu.attention import mha

        return lambda q, k, v, index: turn(
            mha(*map(turn, (q, k, v)), segment_ids=index.scene, sm_scale=scale)
        )
    # This kernel has one scene in a row, full or causal over tokens.
    if name == "stock_mosaic":
        from jax.experimental.pallas.ops.gpu import attention_mgpu as mosaic

        sizes = dict.fromkeys(
            ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq"), 64
        )
        config = mosaic.TuningConfig(max_concurrent_steps=2, **sizes)
        return lambda q, k, v, index: turn(mosaic.attention(*map(turn, (q, k, v)), config))
    # This kernel has one scene in a row, full or causal over tokens.
    if name == "cudnn":
        return lambda q, k, v, index: turn(
            jax.nn.dot_product_attention(*map(turn, (q, k, v)), implementation="cudnn")
        )
    return lambda q, k, v, index: (
        attend(q, k, v, spans=find_spans(index, index, context), kernel=name).value
    )


if __name__ == "__main__":
    app.run(main)
