"""Names to codecs and encoders: the one place that knows which implementations there are.

A config names what to make; a prepared set's card names what it was made with. An identity that differs from
the card's is an error, because latents or text tokens of another codec would train or decode to noise.
"""

from __future__ import annotations

from pathlib import Path

from lct_jax.codecs.minilm import MiniLMEncoder
from lct_jax.codecs.patch import PatchCodec
from lct_jax.codecs.protocols import TextEncoder, VideoCodec
from lct_jax.codecs.stand_in import StandInEncoder
from lct_jax.errors import InputError


def make_encoder(name: str, *, width: int) -> TextEncoder:
    """The text encoder a config names; raises InputError where its width is not `model.text_width`."""
    encoder = StandInEncoder(width) if name == "stand_in" else MiniLMEncoder()
    if encoder.width != width:
        raise InputError(
            f"model.text_width: found {width}, expected {encoder.width}, the width of {name}"
        )
    return encoder


def load_codec(path: Path, *, channels: int) -> VideoCodec:
    """The codec whose weights are in a file; raises InputError where they are not its weights."""
    return PatchCodec.load(path, channels=channels)
