"""Finds video codecs by name. A name is that of a file in this folder that defines `CODEC`.

A config names the codec (`prepare.codec`) and the files with its weights (`prepare.codec_from`); the header of a
codec's weights names what reads them. A prepared set names the identity of the codec that made its latents, and another
identity is an error: latents of another codec would train or decode to noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.plugins import find_plugin
from lct_jax.tensors import read_metadata


def import_codec(name: str, path: Path, *, channels: int) -> VideoCodec:
    """Returns the codec that a config names, from weights as its publishers lay them out."""
    return _find(name).load(path, channels=channels)


def find_stride(name: str) -> tuple[int, int, int]:
    """Returns how many frames, rows and columns a latent position of a codec stands for; no weights are read."""
    return _find(name).stride


def load_codec(path: Path, *, channels: int) -> VideoCodec:
    """Returns the codec whose `save` wrote a file, by the name in its header.

    Raises:
        InputError: the file names no known codec, or its weights are not that codec's.
    """
    # Files of the patch codec from before there were others name no codec.
    name = read_metadata(path).get("codec", "patch")
    return _find(name, field=f"{path}: codec").load(path, channels=channels)


def describe_decoder(codec: VideoCodec) -> dict[str, str]:
    """Returns the identity of what decodes as `{"decoder": ...}`, and {} where the codec's own identity tells it.

    The latents of a codec may be decoded by other weights than its own (`patch_decoder.py`); pictures differ then,
    and sets and models do not.
    """
    decoder = getattr(codec, "decoder", None)
    return {} if decoder is None else {"decoder": decoder}


def _find(name: str, *, field: str = "prepare.codec") -> Any:
    return find_plugin(name, package="lct_jax.codecs", attribute="CODEC", field=field)
