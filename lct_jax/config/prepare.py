"""How footage becomes records."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Positive, PositiveFloat, settings
from lct_jax.errors import InputError


@settings("prepare")
class PrepareConfig:
    """How footage becomes records [S: A.1: 12 fps, at most 125 frames a shot, 480x480 area at its own aspect ratio].

    Attributes:
        fps: frames a second, taken by timestamps.
        height, width: whose product is the pixel area of a frame; its aspect ratio is that of the footage, up to
            the multiples that codec and patch need. aspect_error: largest stretch for that, footage beyond is set
            aside.
        records: "latents", or "pixels" to be encoded later (lct_jax.data.prepare --pixels).
        max_frames: longest clip, 4n + 1. clips: clips of that length cut from a longer shot, evenly spaced.
        stills: single frames of a shot encoded on their own, for frame substitution.
        codec: "patch", "tiny_vae" or "wan_vae". codec_from: file or folder with its weights; "" fits the patch codec
            to the footage.
        encoder: "minilm", "t5", "umt5", or "stand_in" (tests: words hashed). encoder_from: folder with its weights
            and tokenizer; "" those of an installed package. Each is a file of lct_jax/codecs or lct_jax/encoders.
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
    codec_from: str = ""
    encoder: str = "minilm"
    encoder_from: str = ""

    def __post_init__(self) -> None:
        if self.max_frames % 4 != 1:
            raise InputError(f"prepare.max_frames: found {self.max_frames}, expected 4n + 1")
