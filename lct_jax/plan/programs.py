"""The programs of a run, lowered without a device: the train step, and the programs of sampling.

State, batch and caches are shapes with shardings, and nothing is allocated. The functions are those that `train.py` and
`sample.py` run, so that what a compiler says of them holds there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lct_jax.backbones.denoiser import Denoiser
from lct_jax.backbones.protocol import Network
from lct_jax.backbones.registry import build_abstract, describe, find_family
from lct_jax.config import Config
from lct_jax.distributed.sharding import HEADS, check_mesh, make_mesh, with_sharding
from lct_jax.errors import InputError
from lct_jax.plan.sampling import SamplingPlan, make_scene
from lct_jax.plan.topology import Topology
from lct_jax.sampling.cache_slots import history_capacity
from lct_jax.sampling.euler import find_times, make_loop_inputs, run_steps
from lct_jax.sampling.guidance import BOTH_TEXTS, Branch, choose_branches, scale_steps
from lct_jax.sampling.window import pack_group, pack_window
from lct_jax.training.guard import guard_step
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.report.metrics import measure_step
from lct_jax.training.state import init_state, split_params
from lct_jax.training.step import jit_step, make_step
from lct_jax.types import History, PackedBatch, Quantised, TokenIndex, Tokens

# The chips of the smallest slice that the TPU compiler describes; of a smaller one the first chips are taken.
SMALLEST_SLICE = 4


def find_devices(topology: Topology, gpu_spec: Path | None = None) -> list[Any]:
    """Returns devices to compile for; this machine need not have them.

    Args:
        topology: the chips.
        gpu_spec: the description of a GPU for XLA's compiler (a file of xla/backends/gpu/target_config/specs in its
            repository).

    Raises:
        InputError: the compiler for them is not installed, or does not know such a slice.
    """
    if topology.kind == "cpu":
        return _find_cpus(topology)
    # A laptop has no metadata server to ask.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # Compiling uses no chip, so several processes may compile at the same time.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    platform, options = "tpu", {"topology_name": name_described(topology)}
    if topology.kind == "gpu":
        platform, options = "cuda", _describe_gpus(topology, gpu_spec)
    try:
        found = topologies.get_topology_desc(platform=platform, **options)
    except Exception as error:
        wanted = {
            "tpu": "the extra tpu, and a slice that it knows",
            "cuda": "jax-cuda13-plugin and jax-cuda13-pjrt of JAX's version (--no-deps), and nvidia-cuda-nvcc",
        }
        raise InputError(
            f"--compile: no compiler for {topology.name} ({error}), expected {wanted[platform]}"
        ) from None
    return list(found.devices)[: topology.devices]


def name_described(topology: Topology) -> str:
    """Returns the TPU slice that the compiler is asked to describe: it knows none that is smaller than four chips."""
    if topology.chips >= SMALLEST_SLICE:
        return topology.name
    sides = "x".join(["2", "2", "1"][: topology.chip.torus])
    return f"{topology.name.partition(':')[0]}:{sides}"


def _describe_gpus(topology: Topology, gpu_spec: Path | None) -> dict[str, str]:
    if gpu_spec is None:
        raise InputError(
            f"--gpu_spec: missing, expected a file that describes the GPU of {topology.name} to XLA, "
            "such as h100_sxm.txtpb"
        )
    near = min(topology.chip.node, topology.devices)
    try:
        spec = gpu_spec.read_text()
    except OSError as error:
        raise InputError(f"--gpu_spec: {gpu_spec}: {error.strerror}, expected a file") from None
    return {"target_config": spec, "topology": f"1x{topology.devices // near}x{near}"}


def make_topology_mesh(config: Config, devices: list[Any]) -> Mesh:
    """Returns the mesh that `train.py` would lay over these devices; raises InputError where it does not divide."""
    mesh = make_mesh(seq=config.compute.seq_shards, devices=devices)
    check_mesh(mesh, config)
    return mesh


def lower_step(config: Config, mesh: Mesh) -> jax.stages.Lowered:
    """Returns the train step of `train.py`, lowered for an abstract state and batch."""
    training = config.training
    graph, shapes = build_abstract(config.network)
    optimizer = make_optimizer(training, decays=find_family(config.network).decays)
    parts = split_params(shapes)
    state = jax.eval_shape(lambda params: init_state(params, optimizer), parts.trained)
    placed, frozen = with_sharding(state, mesh), with_sharding(parts.frozen, mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = make_step(
        graph,
        optimizer,
        flow_config=config.flow,
        training=training,
        slots=config.data.groups,
        # The gradient is divided by this; any number compiles to the same program.
        samples=float(config.data.rows),
    )
    step = measure_step(guard_step(step, spike=training.spike), slots=config.data.groups)
    with jax.set_mesh(mesh):
        return jit_step(step, state, mesh).lower(placed, frozen, abstract_batch(config, mesh), key)


def list_programs(plan: SamplingPlan) -> tuple[str, ...]:
    """Returns the names of the programs of `sample.py`: the Euler loop, and in causal mode the pass that is cached."""
    return ("euler", "prefill") if plan.mode == "causal" else ("euler",)


def lower_sampling(plan: SamplingPlan, devices: list[Any], program: str) -> jax.stages.Lowered:
    """Returns one of the programs of `sample.py` for a plan, lowered."""
    config = plan.config
    mesh = make_mesh(seq=plan.shards.seq, devices=devices[: plan.shards.data * plan.shards.seq])
    graph, shapes = build_abstract(config.network)
    params = with_sharding(shapes, mesh)
    causal = plan.mode == "causal"
    denoiser = Denoiser(
        Network(graph, params),
        spec=describe(config.network),
        context="causal" if causal else "full",
    )
    with jax.set_mesh(mesh):
        held = causal or any(window.holds for window in plan.windows)
        branches = choose_branches(config.sampling, held=held, spread=plan.shards.data)
        if program == "prefill" and config.sampling.cache == "renoise":
            branches = BOTH_TEXTS
        batch = _pack_longest(plan, branches)
        history = _abstract_history(plan, mesh, len(branches)) if causal else None
        if program == "prefill":
            group = (batch.video, batch.text, np.zeros((len(branches), 1), np.float32))
            return denoiser.lower_prefill(history, *abstract(group))
        times = find_times(config.sampling, config.flow)
        scales = scale_steps(config.sampling, times, branches)
        inputs = make_loop_inputs(batch, held={}, times=times, guidance=scales)
        loop = abstract((inputs, batch.video.value[0]))
        scheme = make_scene(config, plan.request).scheme
        denoise = denoiser.denoise(history) if causal else denoiser.forward
        return run_steps.lower(denoise, *loop, np.int32(0), np.int32(1), scheme)


def _pack_longest(plan: SamplingPlan, branches: Sequence[Branch]) -> PackedBatch:
    """Returns the longest window, or in causal mode the longest shot alone, filled with zeros."""
    scene = make_scene(plan.config, plan.request)
    window = max(plan.windows, key=lambda w: len(w.shots)).shots
    zeros = [
        np.zeros((math.prod(plan.request.shots[shot].grid), plan.request.channels), np.float32)
        for shot in window
    ]
    if plan.mode == "causal":
        return pack_group(scene, window, len(window), zeros[-1], branches=branches)
    return pack_window(scene, window, zeros, branches=branches)


def _abstract_history(plan: SamplingPlan, mesh: Mesh, rows: int) -> History:
    spec, scene = describe(plan.config.network).cache, make_scene(plan.config, plan.request)
    capacity = history_capacity(scene, plan.windows)
    place = NamedSharding(mesh, P(*(HEADS.get(letter) for letter in "NBHMK")))
    shape = (spec.layers, rows, spec.heads, capacity, spec.head_dim)
    of = lambda dtype, *side: jax.ShapeDtypeStruct((*shape[:-1], *side), dtype, sharding=place)
    whole = of(spec.dtype, spec.head_dim)
    if plan.config.sampling.kv_dtype == "int8":
        whole = Quantised(of(jnp.int8, spec.head_dim), of(jnp.float32, 1))
    return History(whole, whole, jax.ShapeDtypeStruct((rows,), jnp.int32))


def abstract(tree: Any) -> Any:
    """Returns arrays as shapes without shardings, since `sample.py` passes arrays of the host."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def abstract_batch(config: Config, mesh: Mesh) -> PackedBatch:
    """Returns a global batch as shapes, rows over `data` and tokens over `seq`."""
    place, data = NamedSharding(mesh, P("data", "seq")), config.data

    def tokens(length: int, width: int) -> Tokens:
        shape = lambda *tail, dtype=jnp.int32: jax.ShapeDtypeStruct(
            (data.rows, length, *tail), dtype, sharding=place
        )
        index = TokenIndex(scene=shape(), shot=shape(), slot=shape(), coord=shape(3))
        return Tokens(shape(width, dtype=jnp.float32), index)

    return PackedBatch(
        video=tokens(data.video_tokens, config.backbone.patch_channels),
        text=tokens(data.text_tokens, config.backbone.text_width),
    )


def _find_cpus(topology: Topology) -> list[Any]:
    devices = jax.devices("cpu")
    if len(devices) < topology.devices:
        raise InputError(
            f"--topology: found {topology.name} with {len(devices)} CPU devices, expected so many: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={topology.devices}"
        )
    return devices[: topology.devices]
