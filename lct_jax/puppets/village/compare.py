"""Compares frames with drawn ones: the reader of the village draws what it may be looking at, and takes the nearest.

Errors are sums over pixels of the mean distance of the colours, in 0..1, and a pixel counts no more than `MOST`: what
is covered by something else must not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

MOST = 0.22
# Two drawings that differ by less than this, in whole pixels of full contrast, show the same.
LEAST = 0.7
# The nearest drawing must be nearer than the next one by this share of their difference.
CLEARLY = 0.12
Value = TypeVar("Value")


class Choice(NamedTuple):
    """Holds the value whose drawing is nearest, whether that is clear, and its error."""

    value: str
    clear: bool
    error: float

    @property
    def told(self) -> str | None:
        """Returns the value; None if it is not clear."""
        return self.value if self.clear else None


def find_errors(frame: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Returns the error of every pixel, float32 [H W]."""
    return np.minimum(np.abs(frame - drawn).mean(-1), MOST)


def choose(frame: np.ndarray, drawn: Mapping[str, np.ndarray]) -> Choice:
    """Returns the value whose drawing, of several by value, is nearest to a frame [H W 3]."""
    errors = {value: float(find_errors(frame, picture).sum()) for value, picture in drawn.items()}
    first, second = sorted(errors, key=errors.get)[:2]
    apart = float(find_errors(drawn[first], drawn[second]).sum())
    clear = apart > LEAST and errors[second] - errors[first] > CLEARLY * apart
    return Choice(first, clear, errors[first])


def find_nearest(
    frame: np.ndarray, values: Iterable[Value], draw: Callable[[Value], np.ndarray]
) -> Value:
    """Returns the value, of any kind, whose drawing is nearest to a frame."""
    return min(values, key=lambda value: float(find_errors(frame, draw(value)).sum()))
