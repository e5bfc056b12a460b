"""Sampling a scene on a topology: time and memory of a mode, and what its cache takes.

A config, a topology, a wish and a mode enter, a `SamplingPlan` leaves. Windows and slots of the cache are those of
`lct_jax/sampling`, FLOPs those of every pass, both guidance branches and the passes that renoise finished shots
included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from lct_jax.backbones.registry import count_costs, describe
from lct_jax.config import Config
from lct_jax.costs.flops import Flops
from lct_jax.errors import InputError
from lct_jax.plan.links import Shards
from lct_jax.plan.memory import Memory
from lct_jax.plan.parameters import Parameters, place_parameters
from lct_jax.plan.scenes import Cost, count_scene, make_request, plan_mode
from lct_jax.plan.topology import Topology
from lct_jax.plan.workload import SceneTarget, count_text, find_grid
from lct_jax.sampling.cache_slots import cache_capacity, history_capacity
from lct_jax.sampling.guidance import BRANCHES
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import SamplingScene

INT8_SCALE = 4  # bytes of the scale that goes with the int8 numbers of a token and head


@dataclass(frozen=True)
class SamplingPlan:
    """Everything that is said of sampling one scene.

    Attributes:
        devices: that take part (`sampling.shards`, twice if there are enough: a row of devices a guidance branch).
        windows: shots seen together, in order. costs: of every window.
        cache, history: bytes on all devices, of the cache and of what is gathered from it for a shot.
        seconds: that the scene takes at least; None without peaks.
        estimate: memory as estimated, where a compiler's takes its place.
    """

    config: Config
    topology: Topology
    mode: str
    shards: Shards
    request: SceneRequest
    windows: tuple[Window, ...]
    costs: list[Cost]
    parameters: Parameters
    cache: float
    history: float
    memory: Memory
    seconds: float | None
    estimate: Memory | None = None

    @property
    def fits(self) -> bool:
        """Whether a device has that much memory."""
        return self.memory.total <= self.topology.chip.usable

    @property
    def flops(self) -> Flops:
        """Of the whole scene."""
        total = Flops(0.0, 0.0)
        for cost in self.costs:
            total = total.plus(cost.flops)
        return total


def plan_sampling(config: Config, topology: Topology, wish: SceneTarget, mode: str) -> SamplingPlan:
    """The plan of one scene, sampled by `mode`.

    Raises:
        InputError: shards that do not divide the heads, or more shots than a window sees at once.
    """
    shards, request = find_sampling_shards(config, topology), make_wished_request(config, wish)
    windows, costs = (
        plan_mode(mode, request, config.sampling),
        count_scene(count_costs(config.network), request, config.sampling, mode),
    )
    parameters = place_parameters(config.network, shards)
    tokens = _longest_pass(request, windows, mode)
    kept = (
        _count_kept(config, request, windows, tokens) if mode == "causal" else Kept(0.0, 0.0, 0.0)
    )
    return SamplingPlan(
        *(config, topology, mode, shards, request, windows, costs, parameters),
        cache=kept.cache,
        history=kept.history,
        memory=_estimate(config, shards, parameters, tokens, kept),
        seconds=_bound(config, topology, shards, parameters, costs),
    )


def find_sampling_shards(config: Config, topology: Topology) -> Shards:
    """The mesh that `sample.py` lays; raises InputError where shards do not divide."""
    shards, heads = config.sampling.shards, config.backbone.heads
    if shards > topology.devices or heads % shards:
        raise InputError(
            f"sampling.shards: found {shards}, expected a divisor of {heads} heads and at most "
            f"{topology.devices} devices"
        )
    rows = BRANCHES if 1 < shards <= topology.devices // BRANCHES else 1
    return Shards(rows, shards)


def make_wished_request(config: Config, wish: SceneTarget) -> SceneRequest:
    """A scene of equal shots with prompts that fill half of their spans."""
    _, _, _, grid = find_grid(config, wish)
    shots = wish.shots or config.data.max_shots
    return make_request(
        shots,
        grid=grid,
        text=count_text(config, config.layout.shot_span),
        scene_text=count_text(config, config.layout.scene_span) if shots > 1 else 0,
        width=config.backbone.text_width,
        channels=config.backbone.patch_channels,
        place=config.backbone.text,
    )


def make_scene(config: Config, request: SceneRequest) -> SamplingScene:
    """What all windows of the scene share; no noise is drawn from it."""
    return SamplingScene(
        request,
        config.sampling,
        layout=config.layout,
        keeps_text=describe(config.network).cache.keeps_text,
        key=None,
    )


class Kept(NamedTuple):
    """Bytes of keys and values on all devices, both branches: the cache, a shot's history, and a shot just passed."""

    cache: float
    history: float
    shot: float


def _count_kept(
    config: Config, request: SceneRequest, windows: tuple[Window, ...], tokens: int
) -> Kept:
    spec, scene = describe(config.network).cache, make_scene(config, request)
    heads = BRANCHES * 2 * spec.layers * spec.heads
    new = heads * spec.head_dim * jnp.dtype(spec.dtype).itemsize
    kept = heads * (spec.head_dim + INT8_SCALE) if config.sampling.kv_dtype == "int8" else new
    return Kept(
        cache=float(kept * cache_capacity(scene, windows, keep_all=False)),
        history=float(kept * history_capacity(scene, windows)),
        shot=float(new * tokens),
    )


def _longest_pass(request: SceneRequest, windows: tuple[Window, ...], mode: str) -> int:
    """Tokens of the longest row that passes through the model at once."""
    text = [len(s.prompt.text) if request.text == "joint" else 0 for s in request.shots]
    sizes = [n + math.prod(shot.grid) for n, shot in zip(text, request.shots, strict=True)]
    if mode == "causal":
        return max(sizes)
    scene = 0 if request.prompt is None else len(request.prompt.text) + 1
    return scene + max(sum(sizes[shot] for shot in window.shots) for window in windows)


def _estimate(
    config: Config, shards: Shards, parameters: Parameters, tokens: int, kept: Kept
) -> Memory:
    size = jnp.dtype(config.compute.dtype).itemsize
    devices = shards.data * shards.seq
    passing = BRANCHES * tokens / devices
    return Memory(
        {
            "parameters": parameters.params,
            "gathered weights": 2 * parameters.blocks / config.backbone.depth * size,
            "layer temporaries": passing * count_costs(config.network).activations.forward,
            "cache": kept.cache / devices,
            "history": kept.history / devices,
            "a finished shot": kept.shot / devices,
        }
    )


def _bound(
    config: Config,
    topology: Topology,
    shards: Shards,
    parameters: Parameters,
    costs: list[Cost],
) -> float | None:
    """Every window takes the longer of its work at the peak and of its weights and keys through memory."""
    chip, devices = topology.chip, shards.data * shards.seq
    if not chip.flops:
        return None
    spec, size = describe(config.network).cache, jnp.dtype(config.compute.dtype).itemsize
    token = 2 * size * spec.layers * spec.heads * spec.head_dim
    peak, bandwidth = (rate / chip.devices for rate in (chip.flops, chip.bandwidth))
    return sum(
        max(
            cost.flops.total / (devices * peak),
            (cost.passes * size * parameters.count + cost.cached * token / devices) / bandwidth,
        )
        for cost in costs
    )
