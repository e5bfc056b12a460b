"""Makes UMT5 a text encoder as the Wan models use it: cleaned prompts, at most 512 tokens, no padding."""

from __future__ import annotations

from pathlib import Path

from lct_jax.encoders.prompts import WAN
from lct_jax.encoders.protocol import TokenCounter
from lct_jax.encoders.t5 import T5Encoder, expect_folder


class UMT5Encoder(T5Encoder):
    """A `TextEncoder` from a folder as published with Wan (`text_encoder`, with `tokenizer` beside it)."""

    def __init__(self, folder: Path, *, dtype: str = "bfloat16") -> None:
        super().__init__(folder, rules=WAN, dtype=dtype, model_type="umt5")

    @classmethod
    def load(cls, folder: Path | None, *, width: int) -> UMT5Encoder:
        """Returns the encoder of the folder that a config names."""
        # The width is the config's, and the registry compares it.
        del width
        return cls(expect_folder(folder, "umt5"))

    @classmethod
    def load_counter(cls, folder: Path | None, *, width: int) -> TokenCounter:
        """Returns a counter of the tokens of a cleaned text."""
        return super().load_counter(folder, width=width, rules=WAN, model_type="umt5")


ENCODER = UMT5Encoder
