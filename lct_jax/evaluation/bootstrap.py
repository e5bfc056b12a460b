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
    """

    value: float | None
    low: float | None
    high: float | None
    count: int

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
    table = np.array([(sum(cases), len(cases)) for cases in scenes if len(cases)], np.float64)
    if not len(table):
        return Estimate(None, None, None, 0)
    total, count = table.sum(axis=0)
    drawn = resample_sums(table)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], BOUNDS)
    return Estimate(float(total / count), float(low), float(high), int(count))
