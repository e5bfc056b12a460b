"""Joins the three sections that a network is built from, and sets their fields by name alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lct_jax.config.backbone import BackboneConfig, DualStreamConfig
from lct_jax.config.compute import ComputeConfig
from lct_jax.config.layout import LayoutConfig

Experiment = TypeVar("Experiment")


@dataclass(frozen=True)
class NetworkConfig:
    """Says what the weights are, where the tokens sit, and how the network computes."""

    backbone: BackboneConfig = field(default_factory=DualStreamConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def make_network(**fields: Any) -> NetworkConfig:
    """Returns a dual-stream network's config with some fields set, of whatever section: `make_network(depth=2)`."""
    return change(NetworkConfig(), **fields)


def change(network: NetworkConfig, **fields: Any) -> NetworkConfig:
    """Returns a network's config with some fields changed, whatever their section.

    Raises:
        TypeError: no section has a field of that name.
    """
    parts = {}
    for section, old in sections(network).items():
        own = {name: fields.pop(name) for name in [*fields] if name in old.__dataclass_fields__}
        parts[section] = dataclasses.replace(old, **own)
    if fields:
        raise TypeError(f"a network has no field {', '.join(fields)}")
    return NetworkConfig(**parts)


def sections(network: NetworkConfig) -> dict[str, Any]:
    """Returns the sections of a network by name, as `Config` takes them."""
    return {part.name: getattr(network, part.name) for part in dataclasses.fields(network)}


def put(config: Experiment, **fields: Any) -> Experiment:
    """Returns an experiment's `Config` with some fields of its network changed."""
    return dataclasses.replace(config, **sections(change(config.network, **fields)))
