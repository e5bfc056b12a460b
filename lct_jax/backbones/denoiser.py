"""A trained model as the functions that sampling asks for.

A graph and parameters enter; `Denoiser` has the passes as `Partial`s, whose parameters are arguments of the program
they become part of and not constants in it, and the operations on a cache. Sampling knows it by the protocol in
`lct_jax/sampling/backbone.py`.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from lct_jax.attention import cache as history
from lct_jax.config import Context, KVDtype, ModelConfig
from lct_jax.types import History, KVCache, Observation, TokenIndex, Tokens


class Denoiser:
    """A model for sampling.

    Args:
        graph: of the MMDiT. params: its parameters. config: of the model. context: it was trained with.
    """

    def __init__(
        self, graph: nnx.GraphDef, params: Any, *, config: ModelConfig, context: Context
    ) -> None:
        def forward(params: Any, video: Tokens, text: Tokens, time_BS: jax.Array) -> jax.Array:
            return nnx.merge(graph, params)(video, text, time_BS, context=context)

        def observe(params: Any, history: History, *inputs: Any) -> Observation:
            return nnx.merge(graph, params).observe(*inputs, history=history)

        def extend(params: Any, history: History, *inputs: Any) -> jax.Array:
            return observe(params, history, *inputs).velocity

        self._params, self._config = params, config
        self._observe, self._extend = jax.jit(observe), extend
        self.forward = Partial(forward, params)

    def extend(self, history: History) -> Partial:
        """(video, text, time_BS) -> velocity [B L C] of one group behind a history."""
        return Partial(self._extend, self._params, history)

    def observe(
        self, history: History, video: Tokens, text: Tokens, time_BS: np.ndarray
    ) -> Observation:
        """The same pass, with what a cache keeps of the group."""
        return self._observe(self._params, history, video, text, time_BS)

    def lower_observe(
        self, history: History, video: Tokens, text: Tokens, time_BS: jax.ShapeDtypeStruct
    ) -> jax.stages.Lowered:
        """`observe` as a program that is not yet compiled; the arguments and the parameters may be shapes alone."""
        return self._observe.lower(self._params, history, video, text, time_BS)

    def make_cache(self, *, rows: int, capacity: int, kept_as: KVDtype) -> KVCache:
        """An empty cache."""
        return history.make_cache(self._config, rows=rows, capacity=capacity, kept_as=kept_as)

    def store(
        self, cache: KVCache, seen: Observation, index: TokenIndex, place_BL: np.ndarray
    ) -> KVCache:
        """The cache with an observed group in it; the one given is given up."""
        return history.store(cache, seen, index, place_BL)

    def recall(
        self, cache: KVCache, slots_BM: np.ndarray, coord_BM3: np.ndarray, count_B: np.ndarray
    ) -> History:
        """Slots of a cache, rotated to `coord_BM3`."""
        return history.recall(cache.k, cache.v, slots_BM, coord_BM3, count_B, config=self._config)
