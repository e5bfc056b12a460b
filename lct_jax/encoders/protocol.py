"""Defines what the project requires of a text encoder.

Training, sampling and preparation know encoders through this protocol alone, so a new one is one new file:

1. Write `lct_jax/encoders/NAME.py` with a class that has the attributes and methods below and inherits from nothing.
   `stand_in.py` is the shortest complete example.
2. Let the file say `ENCODER = ThatClass`.
3. An encoder whose weights are large may have a class method `load_counter(folder, *, width)` that returns a
   `TokenCounter` from its tokenizer alone; without one, texts are encoded to be counted.
4. Choose it: `--config.prepare.encoder=NAME --config.prepare.encoder_from=FOLDER`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lct_jax.errors import InputError


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens before anything is encoded.

    Attributes:
      count: returns how many token vectors `TextEncoder.encode` gives for a text, special ones
        included, or would give if it took texts of any length. max_tokens: the longest text that
        the encoder takes; None where there is no limit.
    """

    count: Callable[[str], int]
    max_tokens: int | None


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
        """Makes the encoder from local files; None selects the files of an installed package.

        `width` is the width that the model expects, for encoders that support any; the registry refuses a different
        one. Raises InputError where files are missing or belong to another model.
        """
        ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text on its own: the result does not depend on what else is in `texts`.

        Args:
          texts: any number of texts. The empty string is legal and gives the encoder's empty prompt, which guidance
              uses by default: at least one token (BERT: `[CLS][SEP]`, two).

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
