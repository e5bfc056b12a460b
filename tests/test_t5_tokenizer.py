"""Tests tokenizers of T5 and UMT5 from local files: the file that is read, errors, and parity with transformers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from t5_files import SIZES, WORDS, write_folder
from tokenizers import Tokenizer, models

from lct_jax.encoders.t5 import T5Encoder
from lct_jax.encoders.t5_network import T5Config
from lct_jax.encoders.t5_tokenizer import load_tokenizer
from lct_jax.errors import InputError

CONFIG = T5Config(model_type="t5", **SIZES)
TEXTS = [
    "",
    "A dog runs in the rain.",
    "  two  spaces,\ttabs\nand lines ",
    "Ein Hund läuft – „schnell“ …",
    "ﬁlm, ｆｕｌｌ\u3000width, cafe\u0301, ½",
    "雨の中、犬が走る。",
    "emoji 🐶 and 12,345.67",
    "x" * 200,
]


def test_a_tokenizer_may_lie_in_a_folder_beside_the_encoder(tmp_path):
    encoder = tmp_path / "text_encoder"
    (tmp_path / "tokenizer").mkdir()
    encoder.mkdir()
    write_folder(encoder)
    (encoder / "tokenizer.json").rename(tmp_path / "tokenizer" / "tokenizer.json")
    assert load_tokenizer(encoder, CONFIG)("a dog in") == [3, 4, 5, 1]
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(InputError) as caught:
        load_tokenizer(encoder, CONFIG)
    assert str(caught.value) == (
        f"{encoder}: no tokenizer.json or spiece.model, nor in {tmp_path / 'tokenizer'}, "
        "expected the tokenizer"
    )


def test_a_missing_sentencepiece_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path, CONFIG)
    assert str(caught.value) == (
        f"{tmp_path / 'spiece.model'}: found no package sentencepiece, expected it installed "
        "(pip install 'lct_jax[sentencepiece]') or a tokenizer.json"
    )


def test_tokenizers_of_other_models_are_refused(tmp_path):
    path = write_folder(tmp_path) / "tokenizer.json"
    small = {"model_type": "t5", **SIZES, "vocab_size": 7}
    (tmp_path / "config.json").write_text(json.dumps(small))
    with pytest.raises(InputError, match=r"tokenizer\.json: found 8 words, expected at most 7"):
        T5Encoder(tmp_path)
    bare = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    bare.save(str(path))
    with pytest.raises(InputError, match=r"found \[\] for an empty text, expected the end token"):
        load_tokenizer(tmp_path, CONFIG)
    path.write_text("{")
    with pytest.raises(InputError, match=r"tokenizer\.json: expected a tokenizer file, found: "):
        load_tokenizer(tmp_path, CONFIG)


def train_sentencepiece(folder: Path, *, byte_fallback: bool, vocab_size: int = 300) -> None:
    """Writes a `spiece.model` of this repository's words, with the numbers of T5: padding 0, end 1, unknown 2."""
    import sentencepiece

    root = Path(__file__).parents[1]
    lines = [
        line for page in ("README.md", "docs/data.md") for line in (root / page).open() if line
    ]
    (folder / "text.txt").write_text("".join(lines) + "\n".join(TEXTS[1:5]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=vocab_size + 256 * byte_fallback,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        byte_fallback=byte_fallback,
        minloglevel=2,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # warnings of other libraries do not matter here
@pytest.mark.parametrize("byte_fallback", [False, True])  # T5, UMT5
def test_sentencepiece_gives_the_tokens_of_transformers(tmp_path, byte_fallback):
    from transformers import T5Tokenizer

    train_sentencepiece(tmp_path, byte_fallback=byte_fallback)
    theirs = T5Tokenizer.from_pretrained(tmp_path, extra_ids=0)
    # transformers 5.24 makes every T5Tokenizer without the bytes that its spiece.model may fall back on.
    theirs._tokenizer.model = models.Unigram(
        theirs._vocab_scores, unk_id=2, byte_fallback=byte_fallback
    )
    config = T5Config(model_type="t5", **SIZES | {"vocab_size": 600})
    ours = load_tokenizer(tmp_path, config)
    found = [ours(text) for text in TEXTS]
    assert found == [theirs(text).input_ids for text in TEXTS]
    assert (2 in found[5]) is not byte_fallback  # unseen characters are unknown, or bytes
    theirs.save_pretrained(tmp_path)  # now there is a tokenizer.json, which is read
    (tmp_path / "spiece.model").unlink()
    assert [load_tokenizer(tmp_path, config)(text) for text in TEXTS] == found


@pytest.mark.slow
def test_a_damaged_sentencepiece_model_is_named(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"spiece\.model: expected a sentencepiece model, found: "):
        load_tokenizer(tmp_path, CONFIG)
