"""Names to text encoders. A name is that of a file in this folder that defines `ENCODER`.

A config names the encoder (`prepare.encoder`) and the folder with its weights (`prepare.encoder_from`). A prepared set
says by which identity its texts were encoded, and another identity is an error: text tokens of another encoder would
mean nothing to the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lct_jax.encoders.protocol import TextEncoder, TokenCounter
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
    if folder and not Path(folder).is_dir():
        raise InputError(
            f"prepare.encoder_from: {folder}: no such folder, expected that of the {name} encoder; where a run is "
            "sampled, --encoder=FOLDER names another"
        )
    encoder = _find(name).load(Path(folder) if folder else None, width=width)
    if encoder.width != width:
        raise InputError(
            f"backbone.text_width: found {width}, expected {encoder.width}, the width of {name}"
        )
    return encoder


def load_counter(name: str, *, width: int, folder: str = "") -> TokenCounter:
    """Returns what counts tokens as a text encoder does; arguments and errors are those of `make_encoder`."""
    kind, path = _find(name), Path(folder) if folder else None
    if hasattr(kind, "load_counter"):
        return kind.load_counter(path, width=width)
    encoder = make_encoder(name, width=width, folder=folder)
    return TokenCounter(lambda text: len(encoder.encode([text])[0]), None)


def _find(name: str) -> Any:
    return find_plugin(
        name, package="lct_jax.encoders", attribute="ENCODER", field="prepare.encoder"
    )
