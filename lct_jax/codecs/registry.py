"""Names to codecs and encoders. A name is that of a file in this folder: adding one is adding its file.

A config names what to make (`prepare.codec`, `prepare.encoder`) and the files with its weights (`codec_from`,
`encoder_from`); the header of a codec's weights names what reads them; a prepared set's card says by which identity
it was made. An identity that differs from the card's is an error, because latents or text tokens of another codec
would train or decode to noise.

A file of a codec defines `CODEC`, a class with `load(path, *, channels)`; one of an encoder `ENCODER`, a class with
`load(folder, *, width)`. What they must be able to do is in `protocols.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from lct_jax.codecs.protocols import TextEncoder, VideoCodec
from lct_jax.errors import InputError
from lct_jax.tensors import read_metadata

_PACKAGE = "lct_jax.codecs"


def make_encoder(name: str, *, width: int, folder: str = "") -> TextEncoder:
    """The text encoder a config names.

    Args:
        width: `model.text_width`. folder: with weights and tokenizer; "": those an installed package brings.

    Raises:
        InputError: no such encoder, files that are missing or another model's, or a width that differs.
    """
    kind = _find(name, "ENCODER", field="prepare.encoder")
    encoder = kind.load(Path(folder) if folder else None, width=width)
    if encoder.width != width:
        raise InputError(
            f"model.text_width: found {width}, expected {encoder.width}, the width of {name}"
        )
    return encoder


def import_codec(name: str, path: Path, *, channels: int) -> VideoCodec:
    """The codec a config names, from weights as its publishers lay them out."""
    return _find(name, "CODEC", field="prepare.codec").load(path, channels=channels)


def find_stride(name: str) -> tuple[int, int, int]:
    """Frames, rows and columns that a latent position of the codec a config names stands for; no weights are read."""
    return _find(name, "CODEC", field="prepare.codec").stride


def load_codec(path: Path, *, channels: int) -> VideoCodec:
    """The codec whose `save` wrote a file, by the name in its header.

    Raises:
        InputError: the file names no codec of ours, or its weights are not that codec's.
    """
    # The patch codec came first, when nothing was named.
    name = read_metadata(path).get("codec", "patch")
    return _find(name, "CODEC", field=f"{path}: codec").load(path, channels=channels)


def _find(name: str, kind: str, *, field: str) -> Any:
    # Only modules of this folder: a header must not choose what else is imported.
    files = [module.name for module in pkgutil.iter_modules(_folder())]
    if name in files and hasattr(module := importlib.import_module(f"{_PACKAGE}.{name}"), kind):
        return getattr(module, kind)
    there = [n for n in files if hasattr(importlib.import_module(f"{_PACKAGE}.{n}"), kind)]
    raise InputError(f"{field}: found {name!r}, expected one of {', '.join(there)}")


def _folder() -> list[str]:
    return list(importlib.import_module(_PACKAGE).__path__)
