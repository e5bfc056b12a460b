"""Measures how well planned batches use a step: the share of tokens that are no padding, and of time that no row waits.

All rows of a batch are computed side by side, so a step lasts as long as its slowest row: *time fill* is the mean work
of a row over the largest of its batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lct_jax.data.planner import Cost, Planner, Row


class Fill(NamedTuple):
    """Holds two shares from 0 to 1: video tokens of the budget, and work of the time that the slowest rows take."""

    tokens: float
    time: float


def measure_fill(batches: Sequence[Sequence[Row]], *, video_tokens: int, cost: Cost) -> Fill:
    """Returns the fill of some batches, which have equally many rows.

    Args:
        video_tokens: the budget of a row. cost: returns the work of a sample, as for the planner.
    """
    tokens = [[sum(int(s.cost[0]) for s in row) for row in rows] for rows in batches]
    work = np.array([[sum(cost(s.plan) for s in row) for row in rows] for rows in batches])
    return Fill(
        tokens=float(np.mean(tokens) / video_tokens),
        time=float(work.mean() / work.max(axis=1).mean()),
    )


def describe_cuts(planner: Planner) -> list[str]:
    """Returns a line on what the samples of the first pool lost because no row holds them; none if they lost nothing.

    All pools are drawn in the same way, so this is what a run leaves out.
    """
    batches = [planner.batch(number) for number in range(planner.config.pool)]
    samples = [sample for rows in batches for row in rows for sample in row]
    cut = [sample for sample in samples if sample.left_out]
    if not cut:
        return []
    lost, drawn = sum(s.left_out for s in cut), sum(len(s.shots) + s.left_out for s in samples)
    fields = Counter(sample.short_of for sample in cut)
    named = ", ".join(
        f"data.{name} {getattr(planner.config, name)} for {n}" for name, n in fields.items()
    )
    return [
        f"{len(cut)} of {len(samples):,} samples do not fit a row, {lost} of {drawn:,} shots are left out from their "
        f"ends ({named})"
    ]
