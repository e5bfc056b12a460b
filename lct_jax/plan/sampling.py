"""Sampling a scene on a topology: time and memory of a mode, and what its cache takes.

Windows and cache slots are those of `lct_jax/sampling`. FLOPs count every pass, all rows of guidance where a step has
them, and the passes that renoise finished shots.
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
from lct_jax.sampling.euler import find_times
from lct_jax.sampling.guidance import TEXTS
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import SamplingScene

# Bytes of the scale of a token's and head's int8 numbers.
INT8_SCALE = 4


@dataclass(frozen=True)
class SamplingPlan:
    """The plan of sampling one scene.

    Attributes:
        devices: the devices that take part (`sampling.shards` for each of two groups of rows, or for all rows
            if there are fewer).
        windows: shots that are seen together, in order.
        costs: the cost of every window.
        cache, history: bytes on all devices, of the cache and of what is gathered from it for a shot.
        seconds: the shortest time that the scene takes; None without peaks.
        estimate: memory as estimated, where `memory` is a compiler's.
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
        """FLOPs of the whole scene."""
        total = Flops(0.0, 0.0)
        for cost in self.costs:
            total = total.plus(cost.flops)
        return total


def plan_sampling(
    config: Config, topology: Topology, target: SceneTarget, mode: str
) -> SamplingPlan:
    """Returns the plan of one scene, sampled by `mode`.

    Raises:
        InputError: the shards do not divide the heads, or there are more shots than a window sees at one time.
    """
    shards, request = find_sampling_shards(config, topology), make_target_request(config, target)
    windows = plan_mode(mode, request, config.sampling)
    costs = count_scene(
        count_costs(config.network),
        request,
        config.sampling,
        mode,
        times=find_times(config.sampling, config.flow) if shards.data == 1 else None,
        spread=shards.data,
    )
    rows = max(cost.rows for cost in costs)
    parameters = place_parameters(config.network, shards)
    tokens = _longest_pass(request, windows, mode)
    kept = (
        _count_cache_bytes(config, request, windows, tokens, rows)
        if mode == "causal"
        else CacheBytes(0.0, 0.0, 0.0)
    )
    return SamplingPlan(
        *(config, topology, mode, shards, request, windows, costs, parameters),
        cache=kept.cache,
        history=kept.history,
        memory=_estimate(config, shards, parameters, rows * tokens, kept),
        seconds=_bound(config, topology, shards, parameters, costs),
    )


def find_sampling_shards(config: Config, topology: Topology) -> Shards:
    """Returns the mesh that `sample.py` lays; raises InputError where shards do not divide."""
    shards, heads = config.sampling.shards, config.backbone.heads
    if shards > topology.devices or heads % shards:
        raise InputError(
            f"sampling.shards: found {shards}, expected a divisor of {heads} heads and at most "
            f"{topology.devices} devices"
        )
    rows = TEXTS if 1 < shards <= topology.devices // TEXTS else 1
    return Shards(rows, shards)


def make_target_request(config: Config, target: SceneTarget) -> SceneRequest:
    """Returns a scene of equal shots with prompts that fill half of their spans."""
    _, _, _, grid = find_grid(config, target)
    shots = target.shots or config.data.max_shots
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
    """Returns what all windows of the scene share; no noise is drawn from it."""
    return SamplingScene(
        request,
        config.sampling,
        layout=config.layout,
        keeps_text=describe(config.network).cache.keeps_text,
        key=None,
    )


class CacheBytes(NamedTuple):
    """Bytes of keys and values on all devices.

    Attributes:
        cache: those of the cache, for both texts of guidance.
        history: those of a shot's history, for all rows of a step.
        shot: those of a pass over a shot, before they are written into the cache.
    """

    cache: float
    history: float
    shot: float


def _count_cache_bytes(
    config: Config, request: SceneRequest, windows: tuple[Window, ...], tokens: int, rows: int
) -> CacheBytes:
    spec, scene = describe(config.network).cache, make_scene(config, request)
    heads = TEXTS * 2 * spec.layers * spec.heads
    new = heads * spec.head_dim * jnp.dtype(spec.dtype).itemsize
    kept = heads * (spec.head_dim + INT8_SCALE) if config.sampling.kv_dtype == "int8" else new
    return CacheBytes(
        cache=float(kept * cache_capacity(scene, windows, retain="needed")),
        history=float(kept * history_capacity(scene, windows)) * rows / TEXTS,
        # The pass that is kept is one of the steps, or one of both texts alone.
        shot=float(new * tokens) * (rows / TEXTS if config.sampling.cache == "reuse" else 1.0),
    )


def _longest_pass(request: SceneRequest, windows: tuple[Window, ...], mode: str) -> int:
    """Returns the tokens of the longest row that passes through the model at one time."""
    text = [len(s.prompt.text) if request.text == "joint" else 0 for s in request.shots]
    sizes = [n + math.prod(shot.grid) for n, shot in zip(text, request.shots, strict=True)]
    if mode == "causal":
        return max(sizes)
    scene = 0 if request.prompt is None else len(request.prompt.text) + 1
    return scene + max(sum(sizes[shot] for shot in window.shots) for window in windows)


def _estimate(
    config: Config, shards: Shards, parameters: Parameters, tokens: int, kept: CacheBytes
) -> Memory:
    size = jnp.dtype(config.compute.dtype).itemsize
    devices = shards.data * shards.seq
    passing = tokens / devices
    return Memory(
        {
            "parameters": parameters.params + parameters.frozen,
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
    """Returns the shortest seconds of a scene: each window takes its work at the peak, or its bytes through memory."""
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
