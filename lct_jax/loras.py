"""LoRAs by their paths: runs of ours, and files of LoRAs alone, read with their weights and told apart.

One is written as PATH, or as PATH:WEIGHT where it counts more or less than once.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lct_jax.backbones.lora import (
    LowRank,
    concatenate,
    fill_low_rank,
    find_low_rank,
    list_ranks,
    weigh,
)
from lct_jax.backbones.lora_files import load_low_rank
from lct_jax.backbones.registry import build_abstract
from lct_jax.config import NetworkConfig
from lct_jax.config.lora import read_weighted
from lct_jax.errors import InputError
from lct_jax.files import hash_file
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import Meta
from lct_jax.training.state import split_params


def read_lora(text: str, network: NetworkConfig, *, which: str = "ema") -> dict[str, LowRank]:
    """Returns the matrices of a LoRA as numpy arrays, its scale and its weight in B, by the name of their layer.

    Args:
        text: PATH or PATH:WEIGHT. network: that it lies on. which: "ema" or "params", of a run.

    Raises:
        InputError: there is none, or it is one of another network.
    """
    path, weight = read_weighted(text, "LoRA")
    if not Path(path).is_dir():
        return weigh(load_low_rank(path, network), weight)
    weights = TrainedWeights(path, which=which)
    lora = weights.meta.config.lora
    if not lora.rank:
        raise InputError(f"{path}: all its weights are trained, expected a LoRA")
    shapes = build_abstract(dataclasses.replace(network, lora=lora)).params
    return weigh(find_low_rank(weights.read(split_params(shapes).trained), lora), weight)


def read_trained(weights: TrainedWeights, shapes: Any) -> Any:
    """Returns the matrices that were trained, as the parameters of `shapes`, from a LoRA run or from its file.

    Args:
        weights: of a LoRA run, or of the file of its LoRA that `lct_jax.export` wrote. shapes: of what is trained.

    Raises:
        InputError: the checkpoint or file does not have them, or the file has others besides.
    """
    if weights.path.is_dir():
        return weights.read(shapes)
    network = weights.meta.config.network
    matrices = load_low_rank(weights.path, network)
    found = {layer: pair.a.shape[-1] for layer, pair in matrices.items()}
    expected = list_ranks(shapes)
    for layer in sorted(found | expected):
        ranks = found.get(layer, 0), expected.get(layer, 0)
        if ranks[0] != ranks[1]:
            raise InputError(
                f"{weights.path}: {layer}: found a LoRA of rank {ranks[0]}, expected {ranks[1]} of its header's config"
            )
    # A file has the scale in B, and a network multiplies by it.
    return fill_low_rank(shapes, weigh(matrices, 1.0 / network.lora.scale))


def read_run(path: str | Path, meta: Meta, *, which: str = "ema") -> dict[str, LowRank]:
    """Returns all that lies on the base of a LoRA run: its own matrices, and what was merged into its base.

    Args:
        path: of the run. meta: of its weights. which: "ema" or "params".

    Raises:
        InputError: the run is no LoRA, or one that was merged is no longer there.
    """
    network = meta.config.network
    own = read_lora(str(path), network, which=which)
    return concatenate([*(read_lora(text, network) for text in meta.base.merged), own])


def identify_lora(text: str) -> str:
    """Returns a hash of the LoRA PATH or PATH:WEIGHT, and its weight where that is not 1."""
    path, weight = read_weighted(text, "LoRA")
    digest = TrainedWeights(path).identify() if Path(path).is_dir() else hash_file(path)
    return digest if weight == 1.0 else f"{digest} times {weight!r}"
