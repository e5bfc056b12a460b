"""Finds text encoders by name. A name is that of a file in this folder that defines `ENCODER`.

A config names the encoder (`prepare.encoder`) and the folder with its weights (`prepare.encoder_from`). A prepared set
names the identity of the encoder of its texts, and another identity is an error: text tokens of another encoder would
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
        name: the encoder's name, such as "minilm". width: the width E that the model expects.
        folder: the folder with weights and tokenizer; "" takes those of an installed package.

    Raises:
        InputError: there is no such encoder, files are missing or belong to another model, or the width differs.
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
    """Returns a counter of tokens as a text encoder counts them; arguments and errors are those of `make_encoder`."""
    kind, path = _find(name), Path(folder) if folder else None
    if hasattr(kind, "load_counter"):
        return kind.load_counter(path, width=width)
    encoder = make_encoder(name, width=width, folder=folder)
    return TokenCounter(lambda text: len(encoder.encode([text])[0]), None)


def _find(name: str) -> Any:
    return find_plugin(
        name, package="lct_jax.encoders", attribute="ENCODER", field="prepare.encoder"
    )
