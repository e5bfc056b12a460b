"""What the project asks of a text encoder, and nothing more.

Training, sampling and preparation know encoders through this protocol alone, so a new one is one new file:

1. Write `lct_jax/encoders/NAME.py` with a class that has the attributes and methods below and inherits from nothing.
   `stand_in.py` is the shortest complete example.
2. Let the file say `ENCODER = ThatClass`.
3. Choose it: `--config.prepare.encoder=NAME --config.prepare.encoder_from=FOLDER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lct_jax.errors import InputError


@runtime_checkable
class TextEncoder(Protocol):
    """Turns each text into as many token vectors as it has tokens.

    Attributes:
      width: E, the length of a token vector.
      identity: a stable string that names the architecture and the weights, such as
        `minilm-l6-v2:sha256:0123456789abcdef` (the first 16 hex digits of the weights' hash). Two
        encoders with one identity must give the same numbers, so that stored ones can be reused.
    """

    width: int
    identity: str

    @classmethod
    def load(cls, folder: Path | None, *, width: int) -> TextEncoder:
        """Makes the encoder from local files, or from None where it brings its own.

        `width` is what the model wants: for encoders that have any; the registry refuses another one.
        Raises InputError where files are missing or another model's.
        """
        ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text on its own: the result does not depend on what else is in `texts`.

        Args:
          texts: any number of texts. The empty string is legal and gives the encoder's empty
            prompt, the one guidance falls back on: at least one token (BERT: `[CLS][SEP]`, two).

        Returns:
          One float32 array [length, E] a text, in order: special tokens included, no padding, true
          length.

        Raises:
          InputError: a text is longer than the encoder can read. Nothing is cut silently.
        """
        ...


def check_texts(texts: Sequence[str]) -> None:
    """Raises InputError unless `texts` is a sequence of well-formed strings.

    Every encoder calls it first: one bare string would otherwise be read letter by letter.
    """
    if isinstance(texts, str):
        raise InputError(f"texts: found one string {texts[:40]!r}, expected a sequence of strings")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{position}]: found {type(text).__name__}, expected a string")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"texts[{position}]: found {text[:40]!r}, expected Unicode") from None
