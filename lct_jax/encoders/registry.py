"""Names to text encoders. A name is that of a file in this folder that defines `ENCODER`.

A config names the encoder (`prepare.encoder`) and the folder with its weights (`prepare.encoder_from`). A prepared set
says by which identity its texts were encoded, and another identity is an error: text tokens of another encoder would
mean nothing to the model.
"""

from __future__ import annotations

from pathlib import Path

from lct_jax.encoders.protocol import TextEncoder
from lct_jax.errors import InputError
from lct_jax.plugins import find_plugin


def make_encoder(name: str, *, width: int, folder: str = "") -> TextEncoder:
    """Returns the text encoder that a config names.

    Args:
        name: such as "minilm". width: E, that the model expects.
        folder: with weights and tokenizer; "" takes those that an installed package brings.

    Raises:
        InputError: there is no such encoder, files are missing or another model's, or the width differs.
    """
    kind = find_plugin(
        name, package="lct_jax.encoders", attribute="ENCODER", field="prepare.encoder"
    )
    encoder = kind.load(Path(folder) if folder else None, width=width)
    if encoder.width != width:
        raise InputError(
            f"backbone.text_width: found {width}, expected {encoder.width}, the width of {name}"
        )
    return encoder
