"""UMT5 as the Wan models use it: prompts cleaned, at most 512 tokens, padding neither seen nor kept."""

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
        """What a config names: the encoder of a folder."""
        del width  # is the config's; the registry compares
        return cls(expect_folder(folder, "umt5"))

    @classmethod
    def load_counter(cls, folder: Path | None, *, width: int) -> TokenCounter:
        """Returns what counts the tokens of a cleaned text."""
        return super().load_counter(folder, width=width, rules=WAN, model_type="umt5")


ENCODER = UMT5Encoder
