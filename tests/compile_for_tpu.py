"""Compiles a small train step and attention alone for TPU, on any machine, and writes the programs' texts to a folder.

    python tests/compile_for_tpu.py FOLDER

It is a process of its own, because conftest's flags for the CPU compiler would apply here too. It needs libtpu.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # tests import the sizes below, and keep their own settings
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no metadata server to ask
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no chip is taken, so others may compile beside
    os.environ.pop("XLA_FLAGS", None)

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lct_jax.attention.attend import attend
from lct_jax.attention.mask import find_spans
from lct_jax.backbones.mmdit.names import decays
from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.config import FlowConfig, TrainingConfig
from lct_jax.config.network import make_network
from lct_jax.distributed.sharding import make_mesh, state_sharding
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state
from lct_jax.training.step import jit_step, make_step
from lct_jax.types import PackedBatch, TokenIndex, Tokens

MODEL = make_network(width=256, depth=2, heads=2, text_width=64, remat="save_attention")
# Enough tokens of both streams that weights are the smaller side of every product: the compiler gathers that one.
TEXT, VIDEO, ROWS, SLOTS = 512, 512, 4, 4
LONG = 2304  # tokens of attention alone: three blocks that they do not fill


def compile_step(mesh: Mesh) -> jax.stages.Compiled:
    """Returns the train step of a small model in bfloat16, rows over `data` and tokens over `seq`."""
    training = TrainingConfig(steps=10, warmup=1)
    optimizer = make_optimizer(training, decays=decays)
    build = lambda: MMDiT(MODEL, rngs=nnx.Rngs(0))
    graph, params = nnx.split(nnx.eval_shape(build))
    state = jax.eval_shape(partial(init_state, optimizer=optimizer), params)
    places = state_sharding(state, mesh)
    place = lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at)
    spread = partial(_abstract, NamedSharding(mesh, P("data", "seq")))
    batch = PackedBatch(
        Tokens(spread(ROWS, VIDEO, MODEL.backbone.patch_channels), _index(spread, VIDEO)),
        Tokens(spread(ROWS, TEXT, MODEL.backbone.text_width), _index(spread, TEXT)),
    )
    step = make_step(
        graph,
        optimizer,
        flow_config=FlowConfig(),
        training=training,
        slots=SLOTS,
        samples=float(ROWS),
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    placed = jax.tree.map(place, state, places)
    return jit_step(step, state, mesh).lower(placed, None, batch, key).compile()


def compile_attention(mesh: Mesh) -> jax.stages.Compiled:
    """Returns causal attention alone and its gradient, with heads of 64 in float32."""
    spread = partial(_abstract, NamedSharding(mesh, P("data")))
    rows = 2 * mesh.shape["data"]
    qkv = (spread(rows, 2, LONG, 64),) * 3

    def loss(qkv: tuple[jax.Array, ...], index: TokenIndex) -> jax.Array:
        return attend(*qkv, spans=find_spans(index, index, "causal")).value.sum()

    return jax.jit(jax.grad(loss)).lower(qkv, _index(spread, LONG, rows=rows)).compile()


def _abstract(place: Any, *shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def _index(spread: Any, length: int, *, rows: int = ROWS) -> TokenIndex:
    number = spread(rows, length, dtype=jnp.int32)
    return TokenIndex(number, number, number, spread(rows, length, 3, dtype=jnp.int32))


# The topology, the devices along the tokens of a row, and what is compiled.
PROGRAMS = {
    "step": ("v6e:2x2", 2, compile_step),
    "attention_v6e": ("v6e:2x2", 1, compile_attention),
    "attention_v5e": ("v5e:2x2", 1, compile_attention),
    "attention_v5p": ("v5p:2x2x1", 1, compile_attention),
    "attention_tpu7x": ("tpu7x:2x2x1", 1, compile_attention),
}
ATTENTION = [name for name in PROGRAMS if name.startswith("attention")]

if __name__ == "__main__":
    for name, (topology, seq, program) in PROGRAMS.items():
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
        mesh = make_mesh(seq=seq, devices=list(found[: 2 * seq]))
        with jax.set_mesh(mesh):
            (Path(sys.argv[1]) / f"{name}.txt").write_text(program(mesh).as_text())
