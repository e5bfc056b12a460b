"""Builds networks from configs: the only module that looks families up."""

from __future__ import annotations

import dataclasses
import functools

import jax
from flax import nnx

from lct_jax.backbones.lora import add_lora, is_block_kernel, is_low_rank
from lct_jax.backbones.protocol import Family, Network
from lct_jax.config import ComputeConfig, NetworkConfig
from lct_jax.costs.flops import BACKWARD, Costs
from lct_jax.errors import InputError
from lct_jax.plugins import find_plugin, list_plugins
from lct_jax.tensors import name_leaves
from lct_jax.types import BackboneSpec


def find_family(config: NetworkConfig) -> Family:
    """Returns the family that a config names."""
    name = config.backbone.family
    return find_plugin(
        name, package="lct_jax.backbones", attribute="FAMILY", field="backbone.family"
    )


def find_publisher(class_name: object, where: str) -> Family:
    """Returns the family whose weights are published under a class's name.

    Raises:
        InputError: there is none; the message has `where` the name was found.
    """
    families = list_plugins(package="lct_jax.backbones", attribute="FAMILY")
    published = {
        name: family
        for family in families
        if family.published is not None
        for name in family.published.class_names
    }
    if class_name not in published:
        there = ", ".join(sorted(published))
        raise InputError(f"{where}: _class_name: found {class_name!r}, expected one of {there}")
    return published[class_name]


def describe(config: NetworkConfig) -> BackboneSpec:
    """Returns what data, sampling and cache need to know of a config's network."""
    return find_family(config).describe(config)


def count_costs(config: NetworkConfig) -> Costs:
    """Returns what a pass of a config's network costs, its LoRA included.

    The matrices of a LoRA add to the work of the layers in blocks as many FLOPs as they have parameters for each of
    theirs; that share is taken of the work of every token.
    """
    costs = find_family(config).count_costs(config)
    if not config.lora.rank:
        return costs
    # A plan asks for many ways to compute one network, which differ in nothing that is counted here.
    share = _find_low_rank_share(dataclasses.replace(config, compute=ComputeConfig()))
    return costs._replace(
        video=costs.video * (1.0 + share),
        text=costs.text * (1.0 + share),
        # Gradients of inputs alone for what is frozen, and of weights besides for the matrices.
        backward=(1.0 + BACKWARD * share) / (1.0 + share),
    )


@functools.cache
def _find_low_rank_share(config: NetworkConfig) -> float:
    """Returns the parameters of the low-rank matrices over those of the layers in blocks."""
    sizes = {name: leaf.size for name, leaf in name_leaves(build_abstract(config).params).items()}
    low_rank = sum(size for name, size in sizes.items() if is_low_rank(name))
    return low_rank / sum(size for name, size in sizes.items() if is_block_kernel(name))


def build(config: NetworkConfig, *, key: jax.Array | int) -> Network:
    """Returns a network with random parameters, from a key or a seed below 2**32."""
    return Network(*nnx.split(_make(config, nnx.Rngs(key))))


def build_abstract(config: NetworkConfig) -> Network:
    """Returns a network whose parameters are shapes: nothing is allocated."""
    graph, shapes = _trace(config)
    # Who asks may change what it gets.
    return Network(graph, jax.tree.map(lambda leaf: leaf, shapes))


@functools.cache
def _trace(config: NetworkConfig) -> Network:
    """Returns an abstract network that is not to be changed: to trace one takes up to a second."""
    return Network(*nnx.split(nnx.eval_shape(lambda: _make(config, nnx.Rngs(0)))))


def count_parameters(config: NetworkConfig) -> int:
    """Returns the number of parameters, from shapes alone."""
    return sum(leaf.size for leaf in jax.tree.leaves(build_abstract(config).params))


def _make(config: NetworkConfig, rngs: nnx.Rngs) -> nnx.Module:
    network = find_family(config).build(config, rngs=rngs)
    if config.lora.rank:
        add_lora(network, config.lora, rngs=rngs)
    return network
