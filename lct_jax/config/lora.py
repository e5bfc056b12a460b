"""Says which low-rank matrices (LoRA, arXiv 2106.09685) are trained in place of a network's own weights."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from lct_jax.config.fields import Count, NonNegativeFloat, settings
from lct_jax.errors import InputError
from lct_jax.paths import LocalPath


class WeightedLora(NamedTuple):
    """A LoRA, a file or a run, and the factor with which it counts."""

    path: str
    weight: float


def read_weighted(text: str, where: str) -> WeightedLora:
    """Returns the LoRA and its weight of "PATH" (a weight of 1) or "PATH:WEIGHT"; the weight may be negative.

    Raises:
        InputError: the weight is not finite; the message has `where` the text stood.
    """
    path, _, number = text.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        return WeightedLora(text, 1.0)
    if not path:
        return WeightedLora(text, 1.0)
    if not math.isfinite(weight):
        raise InputError(f"{where}: found the weight {number} of {path}, expected a finite number")
    return WeightedLora(path, weight)


@settings("lora")
class LoraConfig:
    """Says what a LoRA is: y = W x + (alpha / rank) B A x, where W lies frozen and A and B are trained.

    Attributes:
        rank: the rank of B A; 0 trains all weights of the network.
        alpha: the numerator of the scale; 0 takes the rank, a scale of 1.
        targets: the linear layers that have one, by name or by a part of it between dots: "blocks" is every linear
            layer of all blocks, "attention.q" the queries of Wan's self-attention.
        base_dtype: the dtype in which kernels of blocks lie frozen. With `compute.dtype` "bfloat16" they are rounded to
            it in any case; what else the base has stays float32.
        merged: earlier LoRAs, files or runs, that are added to the base before training starts, each as PATH or as
            PATH:WEIGHT (docs/bases.md).
    """

    rank: Count = 0
    alpha: NonNegativeFloat = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("blocks",)
    base_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    merged: tuple[LocalPath, ...] = ()

    def __post_init__(self) -> None:
        if self.alpha and not self.rank:
            raise InputError(f"lora.alpha: found {self.alpha:g}, expected 0 without lora.rank")
        for text in self.merged:
            read_weighted(text, "lora.merged")

    @property
    def scale(self) -> float:
        """The factor of B A."""
        return self.alpha / self.rank if self.alpha else 1.0
