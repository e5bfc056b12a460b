"""What sampling calls on a network: passes over windows, passes that see a history, and operations on a cache.

`lct_jax.backbones.denoiser.Denoiser` implements this for every family, and tests have smaller implementations. Passes
are `Partial`s, because the Euler loop takes them as arguments: their parameters are not part of the compiled program.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jax.tree_util import Partial

from lct_jax.config import KVDtype
from lct_jax.types import (
    BackboneSpec,
    History,
    KeyValues,
    KVCache,
    Prediction,
    TokenIndex,
    Tokens,
    Visibility,
)


class CausalBackbone(Protocol):
    """A network that sees finished groups through a cache."""

    def denoise(self, history: History) -> Partial:
        """Returns a function (video, text, time_BS) -> velocity [B L C] of one group that sees a history."""
        ...

    def prefill(
        self, history: History, video: Tokens, text: Tokens, time_BS: np.ndarray
    ) -> Prediction:
        """Runs the same pass and returns the keys and values that a cache stores of the group as well."""
        ...

    def make_cache(self, *, rows: int, capacity: int, kept_as: KVDtype) -> KVCache:
        """Returns an empty cache of `capacity` slots a row."""
        ...

    def grow(self, cache: KVCache, capacity: int) -> KVCache:
        """Returns a cache with more slots; `cache` must not be used afterwards."""
        ...

    def store(
        self, cache: KVCache, kept: KeyValues, index: TokenIndex, place_BL: np.ndarray
    ) -> KVCache:
        """Returns the cache with a group in the slots `place_BL`; `cache` must not be used afterwards."""
        ...

    def gather(
        self,
        cache: KVCache,
        rows: tuple[int, ...],
        slots_BM: np.ndarray,
        coord_BM3: np.ndarray,
        count_B: np.ndarray,
    ) -> History:
        """Returns `count_B` slots of some rows of a cache, with their keys rotated to `coord_BM3`."""
        ...


class TableBackbone(Protocol):
    """A network in whose passes tables may say which shot sees which.

    Attributes:
        spec: its layers among others. forward: the pass without tables, (video, text, time_BS) -> velocity.
    """

    spec: BackboneSpec
    forward: Partial

    def see(self, visibility: Visibility) -> Partial:
        """Returns the pass with tables, (video, text, time_BS) -> velocity."""
        ...
