"""Intervals of means over scenes by the bootstrap: scenes are drawn again whole, as the shots of one are dependent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES, BOUNDS = 2000, (2.5, 97.5)  # a 95% percentile interval (Efron 1979)


@dataclass(frozen=True)
class Estimate:
    """The mean of a measure over the cases of many scenes.

    Attributes:
        value: the mean, None without cases.
        low, high: its 95% interval; None without cases, or for a number that is not a mean.
        count: the number of cases.
        scenes: for each scene the sum and the number of its cases; empty for a number that is not a mean.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    scenes: tuple[tuple[float, int], ...] = ()

    def show(self) -> str:
        """Returns the mean with its interval as text, or "-" without cases."""
        if self.value is None:
            return "-"
        if self.low is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def resample_sums(table: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Returns the sums over scenes, drawn again with replacement: [RESAMPLES, k] of a table [scenes, k]."""
    draws = np.random.default_rng(seed).integers(len(table), size=(RESAMPLES, len(table)))
    return table[draws].sum(axis=1)


def estimate_mean(scenes: Sequence[Sequence[float]]) -> Estimate:
    """Returns the mean over all cases, given as the cases of each scene."""
    sums = tuple((float(sum(cases)), len(cases)) for cases in scenes)
    table = np.array([row for row in sums if row[1]], np.float64)
    if not len(table):
        return Estimate(None, None, None, 0)
    total, count = table.sum(axis=0)
    drawn = resample_sums(table)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], BOUNDS)
    return Estimate(float(total / count), float(low), float(high), int(count), sums)


def estimate_difference(one: Estimate, other: Estimate) -> Estimate | None:
    """Returns the mean of `one` less that of `other`, both over the same scenes in the same order.

    A draw has the same scenes for both, so that what makes one scene easier than another one cancels out. Scenes
    without a case of either are left out.

    Returns:
        The difference, whose count is that of its scenes; None where there are not two such scenes.
    """
    if len(one.scenes) != len(other.scenes):
        return None
    pairs = [(*a, *b) for a, b in zip(one.scenes, other.scenes, strict=True) if a[1] and b[1]]
    if len(pairs) < 2:
        return None
    table = np.array(pairs, np.float64)
    subtract = lambda sums: sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
    low, high = np.percentile(subtract(resample_sums(table)), BOUNDS)
    return Estimate(float(subtract(table.sum(axis=0))), float(low), float(high), len(pairs))
