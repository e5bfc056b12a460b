"""Says what the weights of a network are: one class for each family, distinguished by `family`.

How a network computes stands in `compute.py`, and where tokens sit and who sees which prompt in `layout.py`: weights
keep their meaning when those change.
"""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Positive, PositiveFloat, settings
from lct_jax.errors import InputError


@settings("backbone")
class DualStreamConfig:
    """Says what the weights of the dual-stream transformer (SD3) are [P: section 3.1]; its 3B parameters are [P], the
    rest [D].

    Attributes:
        family: which network it is.
        width: D. depth: N, blocks, all dual-stream. heads: H. head_dim: K.
        channels: latent channels of the video codec. patch: latent (T, X, Y) folded into one token.
        text_width: E of the text encoder.
        mlp_ratio: F / D.
        rope_split: how K is divided over (t, h, w); each part is even. rope_base: frequency base.
        qk_norm: RMSNorm of queries and keys over a "head" each, over "all" heads, or "none".
        final_norm: norm before the output layer, "layer" or "rms".
        time_features: width of the sinusoidal time features.
    """

    family: Literal["mmdit"] = "mmdit"
    width: Positive = 2048
    depth: Positive = 28
    heads: Positive = 16
    head_dim: Positive = 128
    channels: Positive = 16
    patch: tuple[Positive, Positive, Positive] = (1, 2, 2)
    text_width: Positive = 4096
    mlp_ratio: Positive = 4
    rope_split: tuple[Positive, Positive, Positive] = (16, 56, 56)
    rope_base: PositiveFloat = 10_000.0
    qk_norm: Literal["head", "all", "none"] = "head"
    final_norm: Literal["layer", "rms"] = "layer"
    time_features: Positive = 256

    def __post_init__(self) -> None:
        if sum(self.rope_split) != self.head_dim or any(part % 2 for part in self.rope_split):
            raise InputError(
                f"backbone.rope_split: found {self.rope_split}, expected three even numbers "
                f"that sum to head_dim {self.head_dim}"
            )

    @property
    def patch_channels(self) -> int:
        """Returns C: latent channels times latent positions of a patch."""
        return self.channels * self.patch[0] * self.patch[1] * self.patch[2]


# This becomes a union of the families' classes once there are several.
BackboneConfig = DualStreamConfig
