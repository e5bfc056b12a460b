"""Prepares prompts as a base model expects them: cleaned, cut or not, padded, with padding visible or not.

Text is given as somebody typed it, and is returned as the base model's own pipeline would pass it to its tokenizer.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

# ftfy (Speer 2019, the cleaner of Wan's pipeline) replaces this typography by ASCII, and removes these characters.
_QUOTES = dict.fromkeys("‘’‚‛ʼ", "'") | dict.fromkeys("“”„‟", '"')
_LIGATURES = {
    chr(0xFB00 + i): x for i, x in enumerate(("ff", "fi", "fl", "ffi", "ffl", "ſt", "st"))
}
_BREAKS = dict.fromkeys("\u2028\u2029\x85", "\n")
_CONTROLS = {
    code: None
    for code in (
        *range(0x00, 0x09),
        0x0B,
        *range(0x0E, 0x20),
        0x7F,
        *range(0x206A, 0x2070),
        0xFEFF,
        *range(0xFFF9, 0xFFFD),
    )
}
_TABLE = str.maketrans(_QUOTES | _LIGATURES | _BREAKS) | _CONTROLS


def clean_prompt(text: str) -> str:
    """Cleans a prompt as Wan's pipeline does: plain quotes and ligatures, no HTML entities, single spaces.

    It does what ftfy.fix_text does, then applies html.unescape twice, then reduces runs of white space to one space.
    Text that was decoded wrongly ("Ã©") stays as it is, because ftfy's guess may change what somebody wrote.
    """
    # Ftfy takes text that has tags for HTML.
    text = html.unescape(text) if "<" not in text else text
    text = _narrow(text.translate(_TABLE))
    text = unicodedata.normalize("NFC", text)
    text = html.unescape(html.unescape(text))
    return re.sub(r"\s+", " ", text).strip()


def keep_prompt(text: str) -> str:
    """Returns a prompt as it is."""
    return text


@dataclass(frozen=True)
class PromptRules:
    """Describes how a base model uses its text encoder.

    Attributes:
        clean: is applied to every text first. max_tokens: the length of the longest text, its end token included.
        pad: if False, a text is its own tokens, as if padding were masked and cut off (Wan). If True, every text is
            padded to max_tokens, and padding is attended to and kept (Stable Diffusion 3).
    """

    clean: Callable[[str], str]
    max_tokens: int
    pad: bool


WAN = PromptRules(clean=clean_prompt, max_tokens=512, pad=False)
SD3 = PromptRules(clean=keep_prompt, max_tokens=256, pad=True)


def _narrow(text: str) -> str:
    """Returns a text with fullwidth and halfwidth forms as the ordinary characters."""
    return "".join(
        unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uffef" or c == "\u3000" else c
        for c in text
    )
