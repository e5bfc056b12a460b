"""What a run of a config would leave out or leave empty, reported before launch.

Without a prepared set this follows from sizes alone: whether scenes of the most shots fit a row at the aspect ratios of
common footage, and whether text or group slots run out before the video tokens of a row do. With one, the first pool of
batches is counted.
"""

from __future__ import annotations

import numpy as np

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config
from lct_jax.data.fill import describe_cuts, measure_fill
from lct_jax.data.joined import open_data
from lct_jax.data.pipeline import make_source
from lct_jax.layout import GroupPlan, ScenePlan
from lct_jax.plan.workload import SceneTarget, find_grid, make_scene

# Width to height of common footage, from a telephone held upright to the widest cinema.
ASPECTS = {
    "9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "4:5": 4 / 5, "1:1": 1.0, "5:4": 5 / 4, "4:3": 4 / 3, "3:2": 3 / 2,
    "16:9": 16 / 9, "1.85:1": 1.85, "2:1": 2.0, "2.35:1": 2.35, "2.39:1": 2.39,
}  # fmt: skip
# The range of aspect ratios that a row is to hold, and their distance; `find_grid` does not distinguish nearer ones.
RANGE = (0.40, 2.4505, 0.001)
# Kernels and meshes can divide multiples of this many tokens.
MULTIPLE = 128
LOW_FILL = 0.8
# A usual shot has the length of the longest one divided by this.
USUAL = 3


def warn_of_sizes(config: Config) -> list[str]:
    """Returns a line for each budget of a row that cuts long scenes short, or that leaves video tokens unused."""
    return [*_warn_of_cuts(config), *_warn_of_fill(config)]


def count_set(data: str, config: Config) -> list[str]:
    """Returns what the first pool of batches holds of the sets that `data` names, and what it leaves out.

    Raises:
        InputError: the sets cannot be read, or do not fit the config.
    """
    planner = make_source(open_data(data), config, count_costs(config.network)).planner
    batches = [planner.batch(number) for number in range(config.data.pool)]
    fill = measure_fill(batches, video_tokens=config.data.video_tokens, cost=planner.cost)
    samples = [sample for rows in batches for row in rows for sample in row]
    single = sum(sample.scene is None for sample in samples) / len(samples)
    lines = [
        f"{data}: {len(batches)} batches hold {len(samples):,} samples, {single:.1%} of them single shots; "
        f"token fill {fill.tokens:.1%}, time fill {fill.time:.1%}"
    ]
    if fill.tokens < LOW_FILL:
        lines.append(
            f"warning: {fill.tokens:.0%} of the video tokens of a row are filled, expected at least {LOW_FILL:.0%} "
            "(data.text_tokens, data.groups, data.pool, or shorter rows)"
        )
    return lines + [f"warning: {line}" for line in describe_cuts(planner)]


def _warn_of_cuts(config: Config) -> list[str]:
    data, lines = config.data, []
    shots = max(2, data.max_shots)
    short = [n for n, a in ASPECTS.items() if _count_video(config, shots, a) > data.video_tokens]
    if short and data.max_shots > 1:
        most = max(_count_video(config, shots, aspect) for aspect in np.arange(*RANGE))
        lines.append(
            f"warning: {shots} shots of {config.prepare.max_frames} frames do not fit a row of {data.video_tokens:,} "
            f"video tokens at {', '.join(short)}, the last shots are left out; "
            f"expected data.video_tokens={-(-most // MULTIPLE) * MULTIPLE}"
        )
    scene = make_scene(config, shots, find_grid(config, SceneTarget())[3])
    text = sum(group.text for group in scene.groups)
    for field, found, most in (
        ("text_tokens", data.text_tokens, text),
        ("groups", data.groups, len(scene.groups)),
    ):
        if found < most and data.max_shots > 1:
            lines.append(
                f"warning: scenes of {data.max_shots} shots do not fit a row, the last ones are left out: "
                f"data.{field}: found {found}, expected at least {most}"
            )
    return lines


def _count_video(config: Config, shots: int, aspect: float) -> int:
    """Returns the video tokens of a scene of the longest shots."""
    grid = find_grid(config, SceneTarget(aspect=float(aspect)))[3]
    return _sum_video(make_scene(config, shots, grid).groups)


def _warn_of_fill(config: Config) -> list[str]:
    """Returns warnings for rows of usual single shots, and of usual scenes, whose text or slots run out first."""
    data = config.data
    frames = config.prepare.max_frames // USUAL // 4 * 4 + 1
    grid = find_grid(config, SceneTarget(frames=frames))[3]
    kinds = {"single shots": (1, data.single_weight), "scenes": (5, 1.0 - data.single_weight)}
    lines = []
    for name, (shots, share) in kinds.items():
        scene = make_scene(config, min(shots, data.max_shots), grid)
        if share > 0.0:
            lines += _compare_budgets(config, scene, f"{name} of {frames} frames")
    return lines


def _compare_budgets(config: Config, scene: ScenePlan, name: str) -> list[str]:
    data, groups = config.data, scene.groups
    video = _sum_video(groups)
    room = data.video_tokens / video
    text = sum(group.text for group in groups)
    counts = {
        "text_tokens": (data.text_tokens, data.text_tokens / text, text),
        "groups": (data.groups, data.groups / len(groups), len(groups)),
    }
    field = min(counts, key=lambda key: counts[key][1])
    found, fitting, each = counts[field]
    if fitting >= LOW_FILL * room:
        return []
    return [
        f"warning: a row of {name} is filled to {fitting / room:.0%} of its video tokens, for its text or slots run "
        f"out first: data.{field}: found {found}, expected about {round(room * each)}"
    ]


def _sum_video(groups: tuple[GroupPlan, ...]) -> int:
    return sum(group.video for group in groups)
