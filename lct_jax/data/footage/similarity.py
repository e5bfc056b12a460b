"""Measures how different takes look: by their small pictures, by the colours of their background, and by their lines.

Distances between takes are computed from small pictures of some frames of every take. Each of the three measures
tolerates what another does not: a camera that moves, a person who walks in, a light that changes.
"""

from __future__ import annotations

import cv2
import numpy as np

# Rows and columns of a small picture that are mostly background, since people act in the middle.
TOP, SIDE = (2, 3)
# Bins of lightness and of both colours of CIE Lab, these in the middle half of their range.
BINS = (4, 12, 12)
CELLS = 3, 4  # rows and columns of cells, in each of which lines are counted


def measure_distances(thumbs: np.ndarray, *, reach: int) -> np.ndarray:
    """Returns the distances float64 [n, n] of takes fewer than `reach` apart; they are 0 further away.

    The distance of two takes is that of their most similar frames. It is the mean of three, each divided by its own
    mean: the mean difference of the pictures, and Hellinger's distances of the colours along their borders and of the
    slopes in a grid of cells.

    Args:
        thumbs: uint8 [n, frames, rows, columns, 3].
    """
    count, frames = thumbs.shape[:2]
    flat = thumbs.reshape(-1, *thumbs.shape[2:])
    border, slopes = (
        np.sqrt(values / values.sum(axis=1, keepdims=True)).reshape(count, frames, -1)
        for values in (_count_colours(flat), _add_slopes(flat))
    )
    pictures = thumbs.reshape(count, frames, -1).astype(np.float32)
    parts = np.zeros((3, count, count))
    for step in range(1, min(reach, count)):
        near, far = np.arange(count - step), np.arange(step, count)
        apart = np.abs(pictures[:-step, :, None] - pictures[step:, None]).mean(-1).min((1, 2))
        values = apart, *(_hellinger(root[:-step], root[step:]) for root in (border, slopes))
        parts[:, near, far] = parts[:, far, near] = np.stack(values)
    means = [part[part > 0].mean() if (part > 0).any() else 1.0 for part in parts]
    return np.mean([part / mean for part, mean in zip(parts, means, strict=True)], axis=0)


def _hellinger(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the least distance [n] between distributions, given as their roots [n, frames, bins]."""
    alike = np.einsum("nak,nbk->nab", one, other).max((1, 2))
    return np.sqrt(np.clip(1 - alike, 0, 1))


def _count_colours(pictures: np.ndarray) -> np.ndarray:
    """Returns histograms [p, bins] of the colours along top and sides of uint8 pictures [p, rows, columns, 3]."""
    count, rows, columns = pictures.shape[:3]
    lab = cv2.cvtColor(pictures.reshape(count * rows, columns, 3), cv2.COLOR_RGB2LAB)
    border = np.ones((rows, columns), bool)
    border[TOP:, SIDE:-SIDE] = False
    light, *colours = np.moveaxis(
        lab.reshape(count, rows, columns, 3)[:, border].astype(int), -1, 0
    )
    number = light * BINS[0] // 256
    for values, bins in zip(colours, BINS[1:], strict=True):
        number = number * bins + np.clip((values - 64) * bins // 128, 0, bins - 1)
    size = int(np.prod(BINS))
    number += size * np.arange(count)[:, None]
    return np.bincount(number.ravel(), minlength=count * size).reshape(count, size)


def _add_slopes(pictures: np.ndarray) -> np.ndarray:
    """Returns sums [p, cells * 4 + 1] of how much brightness rises and falls along rows and columns in each cell; the
    last is 1.

    That constant stands for one grey level, so that two pictures without any slope are equal.
    """
    grey = pictures.astype(np.float32).mean(axis=-1)
    rights = np.diff(grey, axis=2, append=grey[:, :, -1:])
    downs = np.diff(grey, axis=1, append=grey[:, -1:])
    slopes = np.stack([rights, -rights, downs, -downs], axis=-1).clip(min=0)
    count, rows, columns = grey.shape
    cells = slopes.reshape(count, CELLS[0], rows // CELLS[0], CELLS[1], columns // CELLS[1], 4)
    return np.c_[cells.sum((2, 4)).reshape(count, -1), np.ones(count)]
