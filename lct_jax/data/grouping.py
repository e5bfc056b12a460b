"""Takes to scenes, by colour and time; and shots that were seen before, in any film.

The rule of scenes, after the optimal sequential grouping of Rotman, Porat and Ashour (2016), with a price in place of a
known number of scenes. The distance of two takes is that of their nearest frames: the mean difference of small pictures
and Hellinger's distance of hues, each over its mean in the film, in equal parts. A scene costs the sum of all its
distances over the number of its takes, plus `scene_price`, plus a twenty-fifth of the square by which its number of
shots misses `scene_usual`; it has at most `scene_shots` shots, and no `scene_gap` frames are left out inside it. Of
all divisions of a film the cheapest is taken, found by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lct_jax.config import FootageConfig
from lct_jax.data.takes import SHORT_OF, Takes

UNUSUAL = 0.04
BANDS = 4  # of 32 bits each: two looks that are alike agree in at least one


def group_takes(takes: Takes, kept: Sequence[int], config: FootageConfig) -> list[list[int]]:
    """Scenes of the takes numbered in `kept`, each a list of take numbers."""
    if not len(kept):
        return []
    kept = list(kept)
    frames, shots = takes.frames[kept], np.array([(takes.parts[:, 0] == k).sum() for k in kept])
    distance = measure(takes.look[kept], takes.hue[kept], reach=config.scene_shots)
    total = np.cumsum(np.cumsum(np.pad(distance, ((1, 0), (1, 0))), 0), 1)
    breaks = np.r_[0, np.cumsum(frames[1:, 0] - frames[:-1, 1] >= config.scene_gap)]
    count = len(kept)
    best, came = [0.0] + [np.inf] * count, [0] * (count + 1)
    for end in range(1, count + 1):
        for start in range(end - 1, -1, -1):
            length = int(shots[start:end].sum())
            lone = end - start == 1  # a take that was divided into many shots is a scene of its own
            if not lone and (length > config.scene_shots or breaks[start] != breaks[end - 1]):
                break
            within = total[end, end] - 2 * total[start, end] + total[start, start]
            unusual = UNUSUAL * (length - config.scene_usual) ** 2
            price = best[start] + within / (end - start) + config.scene_price + unusual
            if price < best[end]:
                best[end], came[end] = price, start
    scenes, end = [], count
    while end:
        scenes.append(kept[came[end] : end])
        end = came[end]
    return scenes[::-1]


def measure(look: np.ndarray, hue: np.ndarray, *, reach: int) -> np.ndarray:
    """Distances float64 [n, n] of takes fewer than `reach` apart; 0 further away, where none is asked for."""
    count = len(look)
    pictures = np.zeros((count, count))
    hues = np.zeros((count, count))
    look, root = look.reshape(*look.shape[:2], -1).astype(np.float32), np.sqrt(hue)
    for step in range(1, min(reach, count)):
        near, far = np.arange(count - step), np.arange(step, count)
        apart = np.abs(look[:-step, :, None] - look[step:, None]).mean(-1).min((1, 2))
        alike = np.einsum("nak,nbk->nab", root[:-step], root[step:]).max((1, 2))
        for matrix, value in ((pictures, apart), (hues, np.sqrt(np.clip(1 - alike, 0, 1)))):
            matrix[near, far] = matrix[far, near] = value
    return sum(
        0.5 * m / max(m[m > 0].mean() if (m > 0).any() else 1.0, 1e-9) for m in (pictures, hues)
    )


class SeenShots:
    """Remembers the looks of takes and finds those that are there already."""

    def __init__(self, config: FootageConfig) -> None:
        self._limit = config.duplicate
        self._bands: dict[tuple[int, int], list[int]] = {}
        self._looks: list[np.ndarray] = []
        self._lengths: list[int] = []

    def add(self, look: np.ndarray, length: int) -> bool:
        """Whether a take with this look (uint8 [6, 9, 16, 3]) and length was there; remembers it if not."""
        keys = list(enumerate(_hash_look(look)))
        for place in {p for key in keys for p in self._bands.get(key, ())}:
            near = np.abs(look.astype(int) - self._looks[place]).mean() < self._limit
            if near and abs(length - self._lengths[place]) <= SHORT_OF:
                return True
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._looks))
        self._looks.append(look)
        self._lengths.append(length)
        return False


def _hash_look(look: np.ndarray) -> list[int]:
    """Where brightness rises from left to right in the middle picture, as `BANDS` numbers."""
    grey = look[len(look) // 2].astype(int).mean(axis=-1)
    rises = (np.diff(grey, axis=1) > 0).ravel()
    bits = np.packbits(rises[: BANDS * 32].reshape(BANDS, 32), axis=1)
    return [int.from_bytes(band.tobytes(), "big") for band in bits]
