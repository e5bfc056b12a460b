"""How well planned batches use a step: tokens that are no padding, and time that no row spends waiting.

Batches of a planner enter, two shares leave. All rows of a batch are computed side by side, so a step lasts as long
as its slowest row: *time fill* is the mean work of a row over the largest of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lct_jax.data.planner import Cost, Row


class Fill(NamedTuple):
    """Shares from 0 to 1: video tokens of the budget, and work of the time that the slowest rows take."""

    tokens: float
    time: float


def measure_fill(batches: Sequence[Sequence[Row]], *, video_tokens: int, cost: Cost) -> Fill:
    """Fill of some batches, the same number of rows in each.

    Args:
        video_tokens: budget of a row. cost: work of a sample, as the planner has it.
    """
    tokens = [[sum(int(s.cost[0]) for s in row) for row in rows] for rows in batches]
    work = np.array([[sum(cost(s.plan) for s in row) for row in rows] for rows in batches])
    return Fill(
        tokens=float(np.mean(tokens) / video_tokens),
        time=float(work.mean() / work.max(axis=1).mean()),
    )
