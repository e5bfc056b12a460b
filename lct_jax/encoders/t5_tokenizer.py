"""Reads the tokenizer of a T5 or UMT5 encoder from the local file that it was published as.

The tokenizer is a function from a text to its token numbers, end token included. `tokenizer.json` is read by
tokenizers; `spiece.model` by sentencepiece, which is optional (the extra `sentencepiece`). Where both exist
`tokenizer.json` is taken. They differ in one thing: a text that spells a special token out ("</s>") means that token in
`tokenizer.json` and these letters in `spiece.model`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lct_jax.encoders.t5_network import T5Config
from lct_jax.errors import InputError

Tokenize = Callable[[str], list[int]]
END = 1  # end token of both models; 0 is their padding


def load_tokenizer(folder: Path, config: T5Config) -> Tokenize:
    """Returns the tokenizer in a folder, or in a folder `tokenizer` beside it (`tokenizer_3` for `text_encoder_3`).

    Its own padding and truncation are switched off.

    Args:
        config: the config of the encoder, whose table of embeddings the numbers index.

    Raises:
        InputError: the file is missing, cannot be read or belongs to another model, or sentencepiece is not installed.
    """
    path, read = _find(folder)
    tokenize, size = read(path)
    if size > config.vocab_size:
        raise InputError(f"{path}: found {size} words, expected at most {config.vocab_size}")
    empty = tokenize("")
    if empty != [END]:
        raise InputError(f"{path}: found {empty} for an empty text, expected the end token [{END}]")
    return tokenize


def _find(folder: Path) -> tuple[Path, Callable[[Path], tuple[Tokenize, int]]]:
    readers = {"tokenizer.json": _read_json, "spiece.model": _read_sentencepiece}
    # Pipelines with several encoders number them: the tokenizer of text_encoder_3 is in tokenizer_3, not in tokenizer.
    number = re.fullmatch(r"text_encoder(_\d+)", folder.name)
    folders = (folder, folder.parent / f"tokenizer{number[1] if number else ''}")
    for name, read in readers.items():
        for place in folders:
            if (place / name).is_file():
                return place / name, read
    names = " or ".join(readers)
    raise InputError(f"{folders[0]}: no {names}, nor in {folders[1]}, expected the tokenizer")


def _read_json(path: Path) -> tuple[Tokenize, int]:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{path}: expected a tokenizer file, found: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: tokenizer.encode(text).ids, tokenizer.get_vocab_size()


def _read_sentencepiece(path: Path) -> tuple[Tokenize, int]:
    model: Any = _import_sentencepiece(path).SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(path.read_bytes())
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: expected a sentencepiece model, found: {error}") from error
    return lambda text: [*model.EncodeAsIds(text), model.eos_id()], model.GetPieceSize()


def _import_sentencepiece(path: Path) -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise InputError(
            f"{path}: found no package sentencepiece, expected it installed "
            "(pip install 'lct_jax[sentencepiece]') or a tokenizer.json"
        ) from None
    return sentencepiece
