"""A text encoder without weights, for tests: every word has its own fixed random vector.

A text gives one vector for each word, between a begin and an end token. The numbers come from sha256 alone: they are
the same in every process, on every machine and with every version of numpy.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lct_jax.encoders.protocol import TokenCounter, check_texts
from lct_jax.errors import InputError

# No word can be one of these, because `<` is always split from the letters after it.
_BEGIN, _END = "<begin>", "<end>"
_WORD = re.compile(r"\w+|[^\w\s]")


class StandInEncoder:
    """A `TextEncoder` whose token vectors depend on the word alone, not on its place or neighbours."""

    def __init__(self, width: int) -> None:
        """Makes an encoder of vectors of `width` numbers; raises InputError unless width is at least 1."""
        if width < 1:
            raise InputError(f"width: found {width}, expected at least 1")
        self.width = width
        self.identity = f"stand-in-v1:width-{width}"

    @classmethod
    def load(cls, folder: Path | None, *, width: int) -> StandInEncoder:
        """Returns the encoder that a config names; there are no files to read."""
        del folder
        return cls(width)

    @classmethod
    def load_counter(cls, folder: Path | None, *, width: int) -> TokenCounter:
        """Returns a counter of the words of a text; there is no limit."""
        del folder
        encoder = cls(width)
        return TokenCounter(lambda text: len(encoder._split(text)), None)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text to float32 [words + 2, E]; punctuation marks are words, and case is ignored."""
        check_texts(texts)
        return [self._encode_one(text) for text in texts]

    def _encode_one(self, text: str) -> np.ndarray:
        return np.stack([_word_vector(word, self.width) for word in self._split(text)])

    def _split(self, text: str) -> list[str]:
        return [_BEGIN, *_WORD.findall(text.lower()), _END]


ENCODER = StandInEncoder


@functools.lru_cache(maxsize=4096)
def _word_vector(word: str, width: int) -> np.ndarray:
    """Draws uniform float32 [width], mean 0, variance 1, from a hash stream of the word."""
    seed = hashlib.sha256(word.encode()).digest()
    blocks = -(-width // 8)  # a sha256 digest holds eight 32-bit words
    counters = (block.to_bytes(4, "little") for block in range(blocks))
    stream = b"".join(hashlib.sha256(seed + counter).digest() for counter in counters)
    unit = np.frombuffer(stream, "<u4")[:width] / 2.0**32
    return ((unit - 0.5) * np.sqrt(12.0)).astype(np.float32)
