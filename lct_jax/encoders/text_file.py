"""Text tokens without an encoder in memory: one that is read only when it is needed, and a file of encoded texts.

An encoder of UMT5-XXL's size does not fit on a small chip beside a network. Both classes satisfy `TextEncoder`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lct_jax.encoders.protocol import TextEncoder, check_texts
from lct_jax.errors import InputError
from lct_jax.tensors import load_tensors_of, read_metadata, save_tensors

FORMAT = "lct_jax.texts/1"


class FreeableEncoder:
    """An encoder whose weights can be freed, and are read again where a text is new.

    Args:
        load: reads the encoder; it is called at once, and again after `free`.
    """

    def __init__(self, load: Callable[[], TextEncoder]) -> None:
        self._load, self._known = load, {}
        self._encoder: TextEncoder | None = load()
        self.width, self.identity = self._encoder.width, self._encoder.identity

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text to float32 [length, E]; those that were encoded before are kept.

        Raises:
            InputError: a text is too long, or the encoder's files have changed.
        """
        check_texts(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._read().encode(new), strict=True))
        return [self._known[text] for text in texts]

    def free(self) -> None:
        """Frees the weights; tokens of texts that were encoded stay."""
        self._encoder = None

    def _read(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = self._load()
            if self._encoder.identity != self.identity:
                raise InputError(
                    f"text encoder: found {self._encoder.identity}, expected {self.identity}, as before"
                )
        return self._encoder


class TextFile:
    """Texts that `lct_jax.encode_texts` encoded, read from its file; other texts are refused.

    Args:
        path: of the file.

    Raises:
        InputError: there is no such file, or it is not of this format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        metadata = read_metadata(path)
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path}: format: found {metadata.get('format')!r}, expected {FORMAT!r}, a file written by "
                "lct_jax.encode_texts"
            )
        texts = json.loads(metadata["texts"])
        self._names = {text: _name(number) for number, text in enumerate(texts)}
        self.identity, self.width = metadata["encoder"], int(metadata["width"])

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the tokens of each text, float32 [length, E]; InputError for a text that is not in the file."""
        check_texts(texts)
        for text in texts:
            if text not in self._names:
                raise InputError(
                    f"{self.path}: no tokens of {text[:60]!r}, expected them among its {len(self._names)} texts: "
                    "lct_jax.encode_texts writes those of a script"
                )
        tokens = load_tensors_of(self.path, [self._names[text] for text in dict.fromkeys(texts)])
        return [tokens[self._names[text]] for text in texts]


def save_texts(path: Path, encoder: TextEncoder, texts: Sequence[str]) -> int:
    """Encodes texts and writes their tokens as safetensors, each text once; returns how many there are."""
    unique = list(dict.fromkeys(texts))
    tokens = {_name(n): x for n, x in enumerate(encoder.encode(unique))}
    metadata = {
        "format": FORMAT,
        "encoder": encoder.identity,
        "width": str(encoder.width),
        "texts": json.dumps(unique),
    }
    save_tensors(path, tokens, metadata)
    return len(unique)


def _name(number: int) -> str:
    return f"text_{number:04d}"
