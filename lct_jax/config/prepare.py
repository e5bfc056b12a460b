"""Says how footage becomes records."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Positive, PositiveFloat, settings
from lct_jax.errors import InputError
from lct_jax.paths import LocalPath


@settings("prepare")
class PrepareConfig:
    """Says how footage becomes records [S: A.1: 12 fps, at most 125 frames a shot, 480x480 area at its own aspect
    ratio].

    Attributes:
        fps: the frames a second, taken by timestamps.
        height, width: their product is the pixel area of a frame; its aspect ratio is that of the footage, up to the
            multiples that codec and patch need. aspect_error: the largest stretch that this may cause; other footage is
            set aside.
        records: "latents", or "pixels" to be encoded later (lct_jax.data.prepare --pixels).
        max_frames: the longest clip, 4n + 1. clips: the number of clips of that length from a longer shot, evenly
            spaced.
        stills: the number of single frames of a shot encoded on their own, for frame substitution.
        codec: "patch", "patch_decoder", "tiny_vae", "wan_vae" or "wan22_vae". codec_from: the file or folder with its
            weights; "" fits the patch codec to the footage.
        encoder: "minilm", "t5", "umt5", or "stand_in" (for tests: it hashes words). encoder_from: the folder with its
            weights and tokenizer; "" takes those of an installed package. Each is a file of lct_jax/codecs or
            lct_jax/encoders.
    """

    fps: PositiveFloat = 12.0
    height: Positive = 480
    width: Positive = 480
    aspect_error: PositiveFloat = 0.1
    records: Literal["latents", "pixels"] = "latents"
    max_frames: Positive = 125
    clips: Positive = 1
    stills: Positive = 4
    codec: str = "patch"
    codec_from: LocalPath = ""
    encoder: str = "minilm"
    encoder_from: LocalPath = ""

    def __post_init__(self) -> None:
        if self.max_frames % 4 != 1:
            raise InputError(f"prepare.max_frames: found {self.max_frames}, expected 4n + 1")
