"""Asks the compiler for the memory of the VAEs of Wan 2.1 and Wan 2.2 on one TPU chip; no TPU is needed.

    TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python -m benchmarks.codecs_tpu --topology=v6e:2x2 --dtype=bfloat16
    TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python -m benchmarks.codecs_tpu --codec=wan22_vae --height=704 --width=1280

The program needs libtpu. A clip is decoded and encoded one chunk (one latent frame, four frames) at a time, so a clip
of any length takes the memory of one chunk; its frames themselves stay on the host. The program compiles
the second chunk and prints the parts of the chip's memory: weights, the memory between chunks, and working space.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import app, flags
from flax import nnx
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from lct_jax.codecs.causal_conv import Past, Slots
from lct_jax.codecs.wan22_vae import Wan22VAE
from lct_jax.codecs.wan_network import WanNetwork
from lct_jax.codecs.wan_vae import WanVAE, abstract_network

CODECS = {codec.kind: codec for codec in (WanVAE, Wan22VAE)}
CODEC = flags.DEFINE_enum("codec", "wan_vae", [*CODECS], "Which VAE.")

TOPOLOGY = flags.DEFINE_string("topology", "v6e:2x2", "Kind of chip; one chip of it is used.")
DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "To compute in.")
HEIGHT = flags.DEFINE_integer("height", 480, "Rows of pixels.")
WIDTH = flags.DEFINE_integer("width", 832, "Columns of pixels.")
WHAT = flags.DEFINE_list("what", ["decode", "encode"], "Which to compile.")


def main(argv: Sequence[str]) -> None:
    del argv
    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY.value).devices[0]
    place = SingleDeviceSharding(device)
    codec = CODECS[CODEC.value]
    config, side = codec.published, codec.stride[1]
    graph, params = abstract_network(config)

    def decode(params: nnx.State, x: jax.Array, slots: Slots | None) -> tuple[jax.Array, Slots]:
        past = Past(slots)
        return WanNetwork.decode(nnx.merge(graph, params), x, past), past.slots()

    def encode(params: nnx.State, x: jax.Array, slots: Slots | None) -> tuple[jax.Array, Slots]:
        past = Past(slots)
        return WanNetwork.encode(nnx.merge(graph, params), x, past)[0], past.slots()

    rows, columns = HEIGHT.value, WIDTH.value
    shapes = {
        "decode": (decode, (1, 1, rows // side, columns // side, config.z_dim), 1),
        "encode": (encode, (1, 4, rows, columns, 3), 1),
    }
    for name in WHAT.value:
        apply, shape, first = shapes[name]
        start = jax.ShapeDtypeStruct((1, first, *shape[2:]), DTYPE.value)
        slots = jax.eval_shape(lambda p, x, f=apply: f(p, x, None), params, start)[1]
        chunk = jax.ShapeDtypeStruct(shape, DTYPE.value)
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), (params, chunk, slots)
        )
        began = time.perf_counter()
        # The codec computes with this precision (`chunks.make_step`).
        with jax.default_matmul_precision("highest"):
            compiled = jax.jit(apply, donate_argnums=2).lower(*abstract).compile()
        seconds = time.perf_counter() - began
        memory = compiled.memory_analysis()
        held = sum(x.size * jnp.dtype(x.dtype).itemsize for x in slots)
        parts = {
            "arguments": memory.argument_size_in_bytes,
            "of them between chunks": held,
            "working space": memory.temp_size_in_bytes,
            "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        }
        print(
            f"{codec.kind}: {name} a chunk of {rows}x{columns}, {DTYPE.value}, one chip of {TOPOLOGY.value}:"
        )
        for part, size in parts.items():
            print(f"  {part:24s} {size / 2**30:7.2f} GiB")
        total = parts["arguments"] + parts["working space"] + parts["results"]
        print(
            f"  {'together':24s} {total / 2**30:7.2f} GiB; compiled in {seconds:.0f} s", flush=True
        )


if __name__ == "__main__":
    app.run(main)
