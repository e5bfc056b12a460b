"""FLOPs and bytes of a whole scene in every mode, from its plan: nothing is run.

For every window of a request, its FLOPs and the cached tokens that it reads are counted. All rows of guidance, where a
step has them, text, the pass over the global prompt and the passes that renoise finished shots are included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lct_jax.config import SamplingConfig, TextPlace
from lct_jax.costs.flops import Costs, Flops, count_extension, count_forward, count_sequence
from lct_jax.layout import DUMMY_GRID, GroupPlan
from lct_jax.sampling.guidance import BOTH_TEXTS, TEXTS, Branch, choose_branches, scale_steps
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
        rows: the rows of other passes.
    """

    flops: Flops
    passes: int
    cached: int
    single: int = 0
    rows: int = TEXTS


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
    costs: Costs,
    request: SceneRequest,
    config: SamplingConfig,
    mode: str,
    *,
    times: np.ndarray | None = None,
    spread: int = 1,
) -> list[Cost]:
    """Returns the cost of every window.

    Args:
        times: those of the steps, of which some may compute the prompted row alone; None computes all rows in all.
        spread: the number of groups of devices over which rows are spread.
    """
    plan = plan_mode(mode, request, config)
    choose = lambda held: choose_branches(config, held=held, spread=spread)
    count = lambda branches: 0 if times is None else _count_single(config, times, branches)
    if mode != "causal":
        chosen = [choose(window.holds) for window in plan]
        return [
            count_full_pass(costs, request, config, window, branches, single=count(branches))
            for window, branches in zip(plan, chosen, strict=True)
        ]
    branches = choose(True)
    return [
        _count_causal(costs, request, config, plan, place, branches, single=count(branches))
        for place in range(len(plan))
    ]


def _count_single(config: SamplingConfig, times: np.ndarray, branches: Sequence[Branch]) -> int:
    """Returns the passes of a window over the prompted row alone."""
    single = (scale_steps(config, times, branches) == 1.0).all(axis=1)
    # A step of Heun's asks at its end as well, unless that is time 0.
    return int(single.sum() + (single[1:].sum() if config.solver == "heun" else 0))


def count_cache(spec: CacheSpec, request: SceneRequest, shots: int) -> float:
    """Returns bytes of bfloat16 keys and values of the global prompt and of some finished shots, for both texts."""
    tokens = sum(_groups(request, shots, negative) for negative in (False, True))
    return 2.0 * BYTES * spec.layers * spec.heads * spec.head_dim * tokens


def count_full_pass(
    costs: Costs,
    request: SceneRequest,
    config: SamplingConfig,
    window: Window,
    branches: Sequence[Branch],
    *,
    single: int = 0,
) -> Cost:
    """Returns the cost of a window whose tokens all pass through the network in every step."""
    total = Flops(0.0, 0.0)
    for branch in branches:
        count = lambda shots, negative=branch.negative: count_forward(
            costs, request.plan(shots, negative=negative), context="full"
        )
        work = count(window.shots)
        if branch.apart:
            # Held shots are padding there, which takes part in no attention.
            work = work._replace(attention=count(window.denoised).attention)
        total = total.plus(work.times(config.steps - single * branch.negative))
    return Cost(total, passes=config.steps, cached=0, single=single, rows=len(branches))


def _count_causal(
    costs: Costs,
    request: SceneRequest,
    config: SamplingConfig,
    plan: tuple[Window, ...],
    place: int,
    branches: Sequence[Branch],
    *,
    single: int,
) -> Cost:
    window, renoise = plan[place], config.cache == "renoise"
    seen_later = any(window.shots[-1] in other.shots[:-1] for other in plan[place + 1 :])
    renoised = int(seen_later and renoise)
    total, cached = Flops(0.0, 0.0), 0
    # The rows of every step, and those of the pass that renoises, which are always both texts.
    rows = [(branch, config.steps - single * branch.negative) for branch in branches]
    for branch, computed in (*rows, *((branch, renoised) for branch in BOTH_TEXTS)):
        seen = _groups(request, 0 if branch.apart else len(window.shots) - 1, branch.negative)
        own = request.plan(window.shots[-1:], negative=branch.negative).shots[0]
        total = total.plus(count_extension(costs, own, seen=seen).times(computed))
        cached += computed * seen
    if place == 0 and request.prompt is not None:
        for text in (request.prompt.text, request.prompt.negative):
            group = GroupPlan(len(text), DUMMY_GRID)
            total = total.plus(count_extension(costs, group, seen=0))
    return Cost(total, config.steps + renoised, cached, single, len(branches))


def _groups(request: SceneRequest, shots: int, negative: bool) -> int:
    """Returns the tokens of the global prompt and of the first shots."""
    groups = request.plan(tuple(range(len(request.shots))), negative=negative).groups
    first = len(groups) - len(request.shots)
    return sum(count_sequence(group, request.text) for group in groups[: first + shots])
