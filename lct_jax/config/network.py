"""Joins the sections that a network is built from, and sets their fields by name alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lct_jax.config.backbone import BackboneConfig, DualStreamConfig
from lct_jax.config.compute import ComputeConfig
from lct_jax.config.layout import LayoutConfig
from lct_jax.config.lora import LoraConfig
from lct_jax.errors import InputError

Experiment = TypeVar("Experiment")


@dataclass(frozen=True)
class NetworkConfig:
    """Says what the weights are, which of them are trained, where the tokens sit, and how the network computes."""

    backbone: BackboneConfig = field(default_factory=DualStreamConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        if self.backbone.text == "beside":
            _check_beside(self.backbone, self.layout)


def _check_beside(backbone: BackboneConfig, layout: LayoutConfig) -> None:
    """Raises InputError unless a shot can read its context, the global prompt and its own, beside the video."""
    if layout.prompts != "own":
        raise InputError(
            f"layout.prompts: found {layout.prompts!r}, expected 'own' with backbone.family {backbone.family!r}: "
            "the video of a shot reads the global prompt and its own"
        )
    spans = layout.scene_span + layout.shot_span
    if spans > backbone.text_places:
        raise InputError(
            f"layout.scene_span: found {layout.scene_span} and layout.shot_span {layout.shot_span}, expected a sum of "
            f"at most {backbone.text_places} (backbone.text_places)"
        )


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
