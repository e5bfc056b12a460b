"""A trained network as the functions that sampling calls.

A `Denoiser` has the passes as `Partial`s, so that parameters are arguments of the compiled program and not constants in
it, and the operations on a cache. Sampling knows it by the protocol in `lct_jax/sampling/backbone.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.tree_util import Partial

from lct_jax.attention import cache as kv
from lct_jax.backbones.protocol import Network
from lct_jax.backbones.registry import build_abstract, describe
from lct_jax.config import Context, KVDtype, NetworkConfig
from lct_jax.distributed.sharding import make_sampling_mesh, with_sharding
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


class Denoiser:
    """A network for sampling.

    Args:
        network: a network of any family; its parameters may be shapes alone where programs are only compiled.
        spec: what sampling and the cache need to know of the network.
        context: the context that it was trained with.
    """

    def __init__(self, network: Network, *, spec: BackboneSpec, context: Context) -> None:
        def forward(params: Any, video: Tokens, text: Tokens, time_BS: jax.Array) -> jax.Array:
            return nnx.merge(network.graph, params)(video, text, time_BS, context=context).velocity

        def see(params: Any, visibility: Visibility, *inputs: Any) -> jax.Array:
            return nnx.merge(network.graph, params)(*inputs, context=visibility).velocity

        def prefill(params: Any, history: History, *inputs: Any) -> Prediction:
            # A group sees all of itself, whatever the context of the shots.
            call = nnx.merge(network.graph, params)
            return call(*inputs, context="full", history=history, keep=True)

        def denoise(params: Any, history: History, *inputs: Any) -> jax.Array:
            return prefill(params, history, *inputs).velocity

        self.spec = spec
        self._params, self._prefill, self._denoise = network.params, jax.jit(prefill), denoise
        self._see = see
        self.forward = Partial(forward, network.params)

    def see(self, visibility: Visibility) -> Partial:
        """Returns a function (video, text, time_BS) -> velocity [B L C] in which tables say which shot sees which."""
        return Partial(self._see, self._params, visibility)

    def denoise(self, history: History) -> Partial:
        """Returns a function (video, text, time_BS) -> velocity [B L C] of one group that sees a history."""
        return Partial(self._denoise, self._params, history)

    def prefill(
        self, history: History, video: Tokens, text: Tokens, time_BS: np.ndarray
    ) -> Prediction:
        """Runs the same pass and returns the keys and values that a cache stores of the group as well."""
        return self._prefill(self._params, history, video, text, time_BS)

    def lower_prefill(
        self, history: History, video: Tokens, text: Tokens, time_BS: jax.ShapeDtypeStruct
    ) -> jax.stages.Lowered:
        """Returns `prefill` as a program that is not yet compiled; arguments and parameters may be shapes alone."""
        return self._prefill.lower(self._params, history, video, text, time_BS)

    def make_cache(self, *, rows: int, capacity: int, kept_as: KVDtype) -> KVCache:
        """Returns an empty cache."""
        return kv.make_cache(self.spec.cache, rows=rows, capacity=capacity, kept_as=kept_as)

    def grow(self, cache: KVCache, capacity: int) -> KVCache:
        """Returns a cache with more slots; `cache` must not be used afterwards."""
        return kv.grow(cache, capacity)

    def store(
        self, cache: KVCache, kept: KeyValues, index: TokenIndex, place_BL: np.ndarray
    ) -> KVCache:
        """Returns the cache with a group in it; `cache` is donated and must not be used afterwards."""
        return kv.store(cache, kept, index, place_BL)

    def gather(
        self,
        cache: KVCache,
        rows: tuple[int, ...],
        slots_BM: np.ndarray,
        coord_BM3: np.ndarray,
        count_B: np.ndarray,
    ) -> History:
        """Returns slots of some rows of a cache as a history, rotated to `coord_BM3`."""
        places = (slots_BM, coord_BM3, count_B)
        return kv.gather(cache.k, cache.v, *places, rows=rows, spec=self.spec.cache)


class PlacedDenoiser(NamedTuple):
    """A network for sampling on the devices that it samples with.

    Attributes:
        shards: parts of the tokens and heads. mesh: of the devices. params: on them. denoiser: of these parameters.
    """

    shards: int
    mesh: Mesh
    params: Any
    denoiser: Denoiser


def place_denoiser(
    config: NetworkConfig, read: Callable[[Any], Any], *, shards: int, context: Context
) -> PlacedDenoiser:
    """Returns a network on a mesh of `shards` devices over tokens and heads.

    Args:
        config: of the network.
        read: makes the parameters from their shapes, each of which has the sharding that it is to have.
        context: that the network was trained with.

    Raises:
        InputError: the devices or heads do not divide, or the weights cannot be read.
    """
    spec = describe(config)
    mesh = make_sampling_mesh(shards, heads=spec.cache.heads)
    graph, shapes = build_abstract(config)
    params = read(with_sharding(shapes, mesh))
    denoiser = Denoiser(Network(graph, params), spec=spec, context=context)
    return PlacedDenoiser(shards, mesh, params, denoiser)
