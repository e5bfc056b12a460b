"""FLOPs and bytes of a whole scene in every mode, from its plan: nothing is run.

For every window of a request, its FLOPs and the cached tokens that it reads are counted. Both guidance branches, where
a step has both, text, the pass over the global prompt and the passes that renoise finished shots are included.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lct_jax.config import SamplingConfig, TextPlace
from lct_jax.costs.flops import Costs, Flops, count_extension, count_forward, count_sequence
from lct_jax.layout import DUMMY_GRID, GroupPlan
from lct_jax.sampling.request import Prompt, SceneRequest, ShotRequest
from lct_jax.sampling.schedule import Window, plan_autoregressive, plan_causal, plan_joint
from lct_jax.types import CacheSpec

MODES = ("independent", "joint", "autoregressive", "causal")
# Bytes of a bfloat16.
BYTES = 2


class Cost(NamedTuple):
    """The cost of one window.

    Attributes:
        flops: FLOPs of all its passes.
        passes: how many passes there are.
        cached: cached tokens that all passes read.
        single: passes of the prompted row alone, as guidance does nothing in them.
    """

    flops: Flops
    passes: int
    cached: int
    single: int = 0


def make_request(
    shots: int,
    *,
    grid: tuple[int, int, int],
    text: int,
    scene_text: int,
    width: int,
    channels: int,
    place: TextPlace = "joint",
) -> SceneRequest:
    """Returns a scene of equal shots; `scene_text` 0 means no global prompt. Negative prompts are half as long.

    Args:
        place: where text stands; beside the video, the global prompt is part of every shot's.
    """
    if place == "beside":
        text, scene_text = text + scene_text, 0
    tokens = lambda length: np.ones((length, width), np.float32)
    prompt = lambda length: Prompt(tokens(length), tokens(length // 2))
    return SceneRequest(
        prompt=prompt(scene_text) if scene_text else None,
        shots=tuple(ShotRequest(prompt(text), grid) for _ in range(shots)),
        channels=channels,
        text=place,
    )


def plan_mode(mode: str, request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns the windows of a mode; with "independent", every shot has a window of its own."""
    if mode == "independent":
        return tuple(Window((shot,), (shot,)) for shot in range(len(request.shots)))
    plans = {"joint": plan_joint, "autoregressive": plan_autoregressive, "causal": plan_causal}
    return plans[mode](request, config)


def count_scene(
    costs: Costs, request: SceneRequest, config: SamplingConfig, mode: str, *, single: int = 0
) -> list[Cost]:
    """Returns the cost of every window.

    Args:
        single: the steps that compute the prompted row alone.
    """
    plan = plan_mode(mode, request, config)
    if mode != "causal":
        return [count_full_pass(costs, request, config, window, single=single) for window in plan]
    return [
        _count_causal(costs, request, config, plan, place, single=single)
        for place in range(len(plan))
    ]


def count_cache(spec: CacheSpec, request: SceneRequest, shots: int) -> float:
    """Returns bytes of bfloat16 keys and values of the global prompt and of some finished shots, in both branches."""
    tokens = sum(_groups(request, shots, negative) for negative in (False, True))
    return 2.0 * BYTES * spec.layers * spec.heads * spec.head_dim * tokens


def count_full_pass(
    costs: Costs,
    request: SceneRequest,
    config: SamplingConfig,
    window: Window,
    *,
    single: int = 0,
) -> Cost:
    """Returns the cost of a window whose tokens all pass through the network in every step."""
    total = Flops(0.0, 0.0)
    for negative in (False, True):
        plan = request.plan(window.shots, negative=negative)
        passes = config.steps - single * negative
        total = total.plus(count_forward(costs, plan, context="full").times(passes))
    return Cost(total, passes=config.steps, cached=0, single=single)


def _count_causal(
    costs: Costs,
    request: SceneRequest,
    config: SamplingConfig,
    plan: tuple[Window, ...],
    place: int,
    *,
    single: int,
) -> Cost:
    window, renoise = plan[place], config.cache == "renoise"
    seen_later = any(window.shots[-1] in other.shots[:-1] for other in plan[place + 1 :])
    passes = config.steps + (seen_later and renoise)
    total, cached = Flops(0.0, 0.0), 0
    for negative in (False, True):
        seen = _groups(request, len(window.shots) - 1, negative)
        own = request.plan(window.shots[-1:], negative=negative).shots[0]
        computed = passes - single * negative
        total = total.plus(count_extension(costs, own, seen=seen).times(computed))
        cached += computed * seen
        if place == 0 and request.prompt is not None:
            text = request.prompt.negative if negative else request.prompt.text
            group = GroupPlan(len(text), DUMMY_GRID)
            total = total.plus(count_extension(costs, group, seen=0))
    return Cost(total, passes, cached, single)


def _groups(request: SceneRequest, shots: int, negative: bool) -> int:
    """Returns the tokens of the global prompt and of the first shots."""
    groups = request.plan(tuple(range(len(request.shots))), negative=negative).groups
    first = len(groups) - len(request.shots)
    return sum(count_sequence(group, request.text) for group in groups[: first + shots])
