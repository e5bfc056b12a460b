"""Trains and samples models of random weights on one GPU, beside what the plan says of both."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measuring import Scene, Sizes
from lct_jax.backbones.registry import build, build_abstract, count_costs, find_family
from lct_jax.config import Config, DataConfig, NetworkConfig, SamplingConfig, TrainingConfig
from lct_jax.config.network import make_network, sections
from lct_jax.costs.chips import GIB
from lct_jax.costs.flops import count_useful
from lct_jax.distributed.sharding import make_mesh
from lct_jax.layout import GroupPlan, ScenePlan, SceneTokens, lay_out, pack
from lct_jax.plan.links import Shards
from lct_jax.plan.memory import estimate_memory
from lct_jax.plan.parameters import place_parameters
from lct_jax.plan.remat import resolve_remat
from lct_jax.plan.scenes import count_scene
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.report.throughput import find_chip
from lct_jax.training.state import init_state
from lct_jax.training.step import jit_step, make_step

SHOTS, STEPS = 9, 20
MODES = ("joint", "autoregressive", "causal")
TINY_FIELDS = {
    "heads": 2, "head_dim": 32, "rope_split": (8, 12, 12), "text_width": 16, "time_features": 16,
}  # fmt: skip


class _Case(NamedTuple):
    """A network, and the grid and text tokens of each of nine shots; the global prompt has as many as one shot."""

    network: NetworkConfig
    grid: tuple[int, int, int]
    text: int


def _make_cases(tiny: bool) -> dict[str, _Case]:
    if tiny:
        return {"tiny": _Case(make_network(width=64, depth=2, **TINY_FIELDS), (1, 2, 2), 4)}
    of = lambda width, depth: make_network(
        width=width, depth=depth, heads=width // 128, text_width=1024
    )
    # 9 x 6,656 tokens of video and 1,020 of text.
    grid, text = (8, 26, 32), 102
    return {"0.3B": _Case(of(1024, 12), grid, text), "1B": _Case(of(1536, 16), grid, text)}


def train(tiny: bool) -> dict[str, Any]:
    """Returns seconds of a step, MFU and memory of each model; the fastest step counts.

    Raises:
        AssertionError: a loss is no number.
    """
    return {"device": jax.devices()[0].device_kind} | {
        name: _train(case) for name, case in _make_cases(tiny).items()
    }


def _train(case: _Case) -> dict[str, Any]:
    scene = ScenePlan(case.text, (GroupPlan(case.text, case.grid),) * SHOTS)
    config = _make_config(case, scene)
    device = jax.devices()[0]
    mesh = make_mesh(devices=[device])
    config = resolve_remat(config, mesh)
    chip, useful = (
        find_chip(device.device_kind),
        count_useful(count_costs(config.network), scene, context="full"),
    )
    plan = estimate_memory(config, place_parameters(config.network, Shards(1, 1)), Shards(1, 1))
    with jax.set_mesh(mesh):
        optimizer = make_optimizer(config.training, decays=find_family(config.network).decays)
        state = init_state(build(config.network, key=0).params, optimizer)
        step = make_step(
            build_abstract(config.network).graph,
            optimizer,
            flow_config=config.flow,
            training=config.training,
            slots=config.data.groups,
            samples=1.0,
        )
        step = jit_step(step, state, mesh)
        batch, key = jax.tree.map(jnp.asarray, _make_batch(config, scene)), jax.random.key(0)
        seconds, losses = [], []
        for _ in range(STEPS):
            began = time.perf_counter()
            state, output = jax.block_until_ready(step(state, None, batch, key))
            seconds.append(time.perf_counter() - began)
            losses.append(float(output.loss))
    assert np.isfinite(losses).all(), losses
    used = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "parameters": place_parameters(config.network, Shards(1, 1)).count,
        "remat": config.compute.remat,
        "tokens": config.data.video_tokens + config.data.text_tokens,
        "compiling, s": seconds[0],
        "step, s": min(seconds[1:]),
        "useful TFLOP/s": useful.total / min(seconds[1:]) / 1e12,
        "MFU": chip and useful.total / min(seconds[1:]) / chip.flops,
        "peak, GiB": used and used / GIB,
        "planned, GiB": plan.total / GIB,
        "loss": [losses[0], losses[-1]],
    }


def _make_config(case: _Case, scene: ScenePlan) -> Config:
    count = lambda part: sum(getattr(group, part) for group in scene.groups)
    return Config(
        name="gpu_check",
        **sections(case.network),
        data=DataConfig(
            rows=1,
            video_tokens=count("video"),
            text_tokens=count("text"),
            groups=len(scene.groups),
        ),
        training=TrainingConfig(steps=STEPS, warmup=1),
    )


def _make_batch(config: Config, scene: ScenePlan) -> Any:
    rng, backbone = np.random.default_rng(0), config.backbone
    layout = lay_out(scene, layout=config.layout)
    draw = lambda index, width: rng.standard_normal((len(index.shot), width), np.float32)
    tokens = SceneTokens(
        draw(layout.video, backbone.patch_channels), draw(layout.text, backbone.text_width), layout
    )
    return pack(
        [[tokens]],
        video_tokens=config.data.video_tokens,
        text_tokens=config.data.text_tokens,
        channels=backbone.patch_channels,
        text_width=backbone.text_width,
    )


def sample(tiny: bool) -> dict[str, Any]:
    """Returns seconds of nine shots by mode, compiled before, and the ratios to the joint mode beside counted ones."""
    case = next(iter(_make_cases(tiny).values()))
    sampling = SamplingConfig(steps=2 if tiny else 4, guidance=3.0)
    scene = Scene(SHOTS, Sizes(case.network, case.grid, case.text, sampling))
    costs, request = count_costs(case.network), scene.requests[-1]
    seconds, flops = {}, {}
    for mode in MODES:
        scene.time_windows(mode, SHOTS)  # compiles
        seconds[mode] = sum(scene.time_windows(mode, SHOTS))
        flops[mode] = sum(c.flops.total for c in count_scene(costs, request, sampling, mode))
    found = {
        mode: {
            "seconds": seconds[mode],
            "of joint": seconds[mode] / seconds["joint"],
            "of joint, counted": flops[mode] / flops["joint"],
            "useful TFLOP/s": flops[mode] / seconds[mode] / 1e12,
        }
        for mode in MODES
    }
    return {"device": jax.devices()[0].device_kind, "steps": sampling.steps, **found}
