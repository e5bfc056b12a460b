"""Says what the weights of a network are: one class for each family, distinguished by `family`.

How a network computes stands in `compute.py`, and where tokens sit and who sees which prompt in `layout.py`: weights
keep their meaning when those change.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from lct_jax.config.fields import Positive, PositiveFloat, settings
from lct_jax.errors import InputError

# Where the text of a shot stands: "joint", in one sequence with the video, seen by all shots or by its own; or
# "beside" it, read by the video of its shot through cross-attention.
TextPlace = Literal["joint", "beside"]
# Frames a second that an embedding of them has rows for, in their order (SkyReels-V2, arXiv 2504.13074).
FRAME_RATES = (16, 24)


class _Patched:
    """What follows from the patch of any family's config."""

    @property
    def patch_channels(self) -> int:
        """Returns C: latent channels times latent positions of a patch."""
        return self.channels * math.prod(self.patch)


@settings("backbone")
class DualStreamConfig(_Patched):
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
    fps: ClassVar[int] = 0  # it is told no frame rate

    def __post_init__(self) -> None:
        _check_split(self.rope_split, self.head_dim)

    @property
    def text(self) -> TextPlace:
        """Where the text of a shot stands."""
        return "joint"


@settings("backbone")
class WanConfig(_Patched):
    """The transformer of Wan (arXiv 2503.20314) for text to video; the defaults are those of Wan2.1-T2V-1.3B.

    Wan2.1-T2V-14B has width 5120, depth 40, heads 40 and hidden 13824. Wan2.2-TI2V-5B has width 3072, heads 24, hidden
    14336 and 48 channels. All of them have heads of 128. SkyReels-V2 (arXiv 2504.13074) has the sizes of Wan 2.1, and
    at 1.3B an embedding of the frame rate.

    Attributes:
        family: which network it is.
        width: D, which is heads times head_dim. depth: N, blocks. heads: H. head_dim: K. hidden: F of the MLP.
        channels: latent channels of the video codec. patch: latent (T, X, Y) folded into one token.
        text_width: E of the text encoder.
        text_places: tokens of text that a shot sees; behind its own these are zeros, to which the network attends.
        rope_split: how K is divided over (t, h, w); each part is even. rope_base: frequency base.
        time_features: width of the sinusoidal time features.
        release: whose network it is: "wan", or "skyreels_v2", which others publish under a class of its own and use
            with settings of its own.
        fps: frames a second that the network is told, the rate of the set that it is trained on; 0 for a network that
            has no embedding of them.
    """

    family: Literal["wan"] = "wan"
    width: Positive = 1536
    depth: Positive = 30
    heads: Positive = 12
    head_dim: Positive = 128
    hidden: Positive = 8960
    channels: Positive = 16
    patch: tuple[Positive, Positive, Positive] = (1, 2, 2)
    text_width: Positive = 4096
    text_places: Positive = 512
    rope_split: tuple[Positive, Positive, Positive] = (44, 42, 42)
    rope_base: PositiveFloat = 10_000.0
    time_features: Positive = 256
    release: Literal["wan", "skyreels_v2"] = "wan"
    fps: Literal[0, 16, 24] = 0

    def __post_init__(self) -> None:
        _check_split(self.rope_split, self.head_dim)
        if self.fps and self.release == "wan":
            raise InputError(
                f"backbone.fps: found {self.fps}, expected 0 with backbone.release 'wan'"
            )
        if self.width != self.heads * self.head_dim:
            raise InputError(
                f"backbone.width: found {self.width}, expected {self.heads * self.head_dim}, heads times head_dim"
            )

    @property
    def text(self) -> TextPlace:
        """Where the text of a shot stands."""
        return "beside"


BackboneConfig = DualStreamConfig | WanConfig


def _check_split(rope_split: tuple[int, int, int], head_dim: int) -> None:
    if sum(rope_split) != head_dim or any(part % 2 for part in rope_split):
        raise InputError(
            f"backbone.rope_split: found {rope_split}, expected three even numbers "
            f"that sum to head_dim {head_dim}"
        )
