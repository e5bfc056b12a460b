"""What sampling asks of a model: passes over windows, passes behind a history, and operations on a cache.

`lct_jax.backbones.denoiser.Denoiser` has these for our MMDiT; tests have smaller ones. Passes are `Partial`s, because the
Euler loop takes them as arguments: their parameters are not part of the compiled program.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jax.tree_util import Partial

from lct_jax.config import KVDtype
from lct_jax.types import History, KVCache, Observation, TokenIndex, Tokens


class CausalBackbone(Protocol):
    """A model that sees finished groups through a cache."""

    def extend(self, history: History) -> Partial:
        """(video, text, time_BS) -> velocity [B L C] of one group behind a history."""
        ...

    def observe(
        self, history: History, video: Tokens, text: Tokens, time_BS: np.ndarray
    ) -> Observation:
        """The same pass, with what a cache keeps of the group."""
        ...

    def make_cache(self, *, rows: int, capacity: int, kept_as: KVDtype) -> KVCache:
        """An empty cache of `capacity` slots a row."""
        ...

    def store(
        self, cache: KVCache, seen: Observation, index: TokenIndex, place_BL: np.ndarray
    ) -> KVCache:
        """The cache with an observed group in the slots `place_BL`; the one given is given up."""
        ...

    def recall(
        self, cache: KVCache, slots_BM: np.ndarray, coord_BM3: np.ndarray, count_B: np.ndarray
    ) -> History:
        """`count_B` slots of a cache, with their keys rotated to `coord_BM3`."""
        ...
