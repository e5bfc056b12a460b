"""Tables of made-up lengths, planners over them, and what they draw, for tests of the plan of rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from lct_jax.config import DataConfig
from lct_jax.data.planner import Planner, SampleDraw
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.layout import ScenePlan

PATCH = (1, 2, 2)
GRIDS = ((5, 10, 18), (3, 12, 16), (5, 8, 22), (2, 10, 18), (4, 14, 14))  # 98 to 225 tokens
SHOTS = (2, 9, 5, 12, 4, 7) * 5
MIXED = DataConfig(rows=8, video_tokens=2400, text_tokens=700, groups=24, singles_from_scenes=True)


CHI_SQUARE_8 = 26.1  # exceeded by chance once in a thousand, with 8 degrees of freedom


def make_table(
    shots: Sequence[int],
    *,
    grids: Sequence[tuple[int, int, int]] = GRIDS,
    held_out: Sequence[int] = (),
    clips: int = 2,
    uncut_every: int = 10**6,
) -> LengthTable:
    """Returns a set of scenes with `shots[i]` shots each, of sizes drawn from `grids` and texts of 8 to 40 tokens.

    Of every `uncut_every` shots the second continues without a cut.
    """
    rng = np.random.default_rng(0)
    column = lambda values: np.asarray(values, np.int32)
    count = sum(shots)
    return LengthTable(
        scene_split=column([scene in held_out for scene in range(len(shots))]),
        scene_start=column([0, *np.cumsum(shots)]),
        scene_full=column(rng.integers(40, 80, len(shots))),
        scene_brief=column(rng.integers(20, 40, len(shots))),
        shot_text=column(rng.integers(8, 40, count)),
        shot_still=column([3] * count),
        shot_cut=column(np.arange(count) % uncut_every != 1),
        clip_start=column(np.arange(count + 1) * clips),
        clip_grid=column(np.repeat(rng.choice(grids, count), clips, axis=0)),
        empty_text=column([2]),
    )


def square(plan: ScenePlan) -> float:
    """Returns the work of attention alone."""
    return float(sum(group.video + group.text for group in plan.groups) ** 2)


def make_planner(table: LengthTable, config: DataConfig, *, split: str = "train") -> Planner:
    return Planner(table, config, patch=PATCH, cost=square, split=split)


def draw(planner: Planner, count: int) -> list[SampleDraw]:
    """Returns the first samples of a pool's stream."""
    return list(itertools.islice(planner.samples(0), count))


def check_share(hits: Sequence[bool], expected: float) -> None:
    """Checks that a share is within four standard deviations of the config's."""
    assert np.mean(hits) == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) / len(hits))
    )
