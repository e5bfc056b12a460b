"""Groups takes into scenes by similarity and time, and finds shots that any film has shown before.

The rule of scenes follows the optimal sequential grouping of Rotman, Porat and Ashour (2016), with a price in place of
a known number of scenes. A scene costs the sum of all distances (`similarity.py`) of its takes over their number, plus
`scene_price`, plus a fiftieth of the square of the difference between its number of takes and `scene_usual`. It has at
most `scene_shots` takes and, parts of divided takes counted, twice as many shots; and no `scene_gap` frames are left
out inside it. Of all divisions of a film the cheapest is taken, found by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lct_jax.config import FootageConfig
from lct_jax.data.footage.similarity import measure_distances
from lct_jax.data.footage.takes import SHORT_OF, Takes

UNUSUAL = 0.02
PARTS = 2  # shots for each take that a scene of the most takes may have
# The number of bands of 32 bits each: two similar takes agree in at least one band.
BANDS = 4


def group_takes(takes: Takes, kept: Sequence[int], config: FootageConfig) -> list[list[int]]:
    """Returns the scenes of the takes numbered in `kept`, each a list of take numbers."""
    if not len(kept):
        return []
    kept = list(kept)
    frames, shots = takes.frames[kept], np.array([(takes.parts[:, 0] == k).sum() for k in kept])
    distance = measure_distances(takes.thumbs[kept], reach=config.scene_shots)
    total = np.cumsum(np.cumsum(np.pad(distance, ((1, 0), (1, 0))), 0), 1)
    breaks = np.r_[0, np.cumsum(frames[1:, 0] - frames[:-1, 1] >= config.scene_gap)]
    count = len(kept)
    best, came = [0.0] + [np.inf] * count, [0] * (count + 1)
    for end in range(1, count + 1):
        for start in range(end - 1, -1, -1):
            length = end - start
            many = (
                shots[start:end].sum() > PARTS * config.scene_shots or length > config.scene_shots
            )
            # A take that was divided into very many shots is a scene of its own.
            if length > 1 and (many or breaks[start] != breaks[end - 1]):
                break
            within = total[end, end] - 2 * total[start, end] + total[start, start]
            unusual = UNUSUAL * (length - config.scene_usual) ** 2
            price = within / length + config.scene_price + unusual
            if best[start] + price < best[end]:
                best[end], came[end] = best[start] + price, start
    scenes, end = [], count
    while end:
        scenes.append(kept[came[end] : end])
        end = came[end]
    return scenes[::-1]


class SeenShots:
    """Stores the small pictures of takes and finds those that are stored already."""

    def __init__(self, config: FootageConfig) -> None:
        self._limit = config.duplicate
        self._bands: dict[tuple[int, int], list[int]] = {}
        self._thumbs: list[np.ndarray] = []
        self._lengths: list[int] = []

    def add(self, thumbs: np.ndarray, length: int) -> bool:
        """Returns whether a take with these pictures (uint8 [6, 9, 16, 3]) and length is stored; stores it if not."""
        keys = list(enumerate(_hash_thumbs(thumbs)))
        for place in {p for key in keys for p in self._bands.get(key, ())}:
            near = np.abs(thumbs.astype(int) - self._thumbs[place]).mean() < self._limit
            if near and abs(length - self._lengths[place]) <= SHORT_OF:
                return True
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._thumbs))
        self._thumbs.append(thumbs)
        self._lengths.append(length)
        return False


def _hash_thumbs(thumbs: np.ndarray) -> list[int]:
    """Returns where brightness rises from left to right in the middle picture, as `BANDS` numbers."""
    grey = thumbs[len(thumbs) // 2].astype(int).mean(axis=-1)
    rises = (np.diff(grey, axis=1) > 0).ravel()
    bits = np.packbits(rises[: BANDS * 32].reshape(BANDS, 32), axis=1)
    return [int.from_bytes(band.tobytes(), "big") for band in bits]
