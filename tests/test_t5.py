"""Tests T5 and UMT5 without their reference: prompts, padding, files. test_codec_parity.py compares them with it."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
from safetensors.numpy import save_file
from t5_files import SIZES, draw_tensors, write_folder

from lct_jax.encoders.prompts import WAN, PromptRules, clean_prompt, keep_prompt
from lct_jax.encoders.protocol import TextEncoder
from lct_jax.encoders.registry import make_encoder
from lct_jax.encoders.t5 import T5Encoder
from lct_jax.encoders.t5_network import T5Config, bucket_distances
from lct_jax.encoders.umt5 import UMT5Encoder
from lct_jax.errors import InputError
from lct_jax.tensors import Rows, iter_rows


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return UMT5Encoder(write_folder(tmp_path_factory.mktemp("umt5")), dtype="float32")


def test_t5_satisfies_the_protocol(encoder):
    assert isinstance(encoder, TextEncoder)
    assert encoder.width == 16
    assert encoder.identity.startswith("umt5-2x16-float32:sha256:")
    empty, four = encoder.encode(["", "a dog in"])
    assert (empty.shape, empty.dtype) == ((1, 16), np.float32)
    assert (four.shape, four.dtype) == ((4, 16), np.float32)


def test_attention_ignores_padding(encoder, monkeypatch):
    (short,) = encoder.encode(["the dog"])
    monkeypatch.setattr("lct_jax.encoders.t5.BUCKETS", (48,))
    np.testing.assert_allclose(short, encoder.encode(["the dog"])[0], atol=1e-5)


def test_padding_is_seen_and_kept_where_the_base_model_does(tmp_path):
    folder = write_folder(tmp_path, "t5")
    rules = [PromptRules(clean=keep_prompt, max_tokens=8, pad=pad) for pad in (True, False)]
    padded, bare = (
        T5Encoder(folder, rules=rule, dtype="float32").encode(["the dog"])[0] for rule in rules
    )
    assert (padded.shape, bare.shape) == ((8, 16), (3, 16))
    assert np.abs(padded[:3] - bare).max() > 1e-3


def test_order_of_words_matters(encoder):
    one, other = encoder.encode(["dog the rain", "rain the dog"])
    assert np.abs(one[1] - other[1]).max() > 1e-3


def test_texts_are_cleaned_and_counted(encoder):
    assert encoder.tokenize(["  a\n dog &amp;amp; "]) == [[3, 4, 2, 1]]
    assert len(encoder.tokenize(["dog " * 511])[0]) == 512
    with pytest.raises(InputError, match=r"texts\[1\].*found 513 tokens, expected at most 512"):
        encoder.tokenize(["a", "dog " * 512])


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a\t dog\n\n in  rain ", "a dog in rain"),
        ("“a” dog’s", '"a" dog\'s'),
        ("ﬁlm, ｆｕｌｌ\u3000width", "film, full width"),
        ("salt &amp; sea &amp;lt;3", "salt & sea <3"),
        ("cafe\u0301\x00\ufeff", "café"),
        ("<b>&amp;</b>", "<b>&</b>"),
        ("雨の中", "雨の中"),
    ],
)
def test_prompts_are_cleaned(text, cleaned):
    assert clean_prompt(text) == cleaned
    assert WAN.clean is clean_prompt


def test_rows_of_the_table_of_positions():
    """Rows are exact up to 7, then one row stands for 8..11, 12..15 and so on; keys after the query are 16 rows further
    on."""
    config = T5Config(model_type="t5", **SIZES)
    rows_LM = bucket_distances(130, config)
    assert rows_LM[:, 0][[0, 1, 7, 8, 11, 12, 16, 23, 64, 91, 129]].tolist() == [
        *(0, 1, 7, 8, 8, 9, 10, 11, 14, 15, 15)
    ]
    assert rows_LM[0, [1, 7, 8, 129]].tolist() == [17, 23, 24, 31]


def test_weights_in_parts_are_the_same_weights(encoder, tmp_path):
    folder = write_folder(tmp_path)
    (folder / "model.safetensors").unlink()
    tensors = draw_tensors("umt5")
    names = sorted(tensors)
    parts = {"model-1-of-2.safetensors": names[:9], "model-2-of-2.safetensors": names[9:]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    again = UMT5Encoder(folder, dtype="float32")
    np.testing.assert_array_equal(again.encode(["a dog"])[0], encoder.encode(["a dog"])[0])
    assert again.identity == encoder.identity


def test_a_name_in_two_parts_is_refused(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    save_file({"shared.weight": np.zeros((8, 16), np.float32)}, folder / "b.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"twice: shared\.weight"):
        UMT5Encoder(folder)
    index = {"weight_map": {"x": "../a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="expected names of files beside it"):
        UMT5Encoder(folder)


class Watched(np.ndarray):
    """Is an array that can be observed: its weak reference dies with its last reference."""


def test_tensors_are_read_piece_by_piece(encoder, tmp_path, monkeypatch):
    """When the next piece is read, at most the one before it is still in memory in the dtype of the file."""
    seen, alive, sizes = [], [], []

    def watch(*args, **kwargs):
        for piece in iter_rows(*args, **kwargs):
            alive.append(sum(reference() is not None for reference in seen))
            sizes.append(piece.rows.size)
            watched = piece.rows.view(Watched)
            seen.append(weakref.ref(watched))
            yield Rows(piece.name, piece.start, watched)
            del piece, watched

    monkeypatch.setattr("lct_jax.encoders.t5.iter_rows", watch)
    monkeypatch.setattr("lct_jax.tensors._NUMBERS_A_PIECE", 40)
    folder = write_folder(tmp_path)
    again = UMT5Encoder(folder, dtype="float32")
    assert max(alive) <= 1
    assert max(sizes) == 40
    assert sum(sizes) == sum(tensor.size for tensor in draw_tensors("umt5").values())
    assert again.identity == encoder.identity
    np.testing.assert_array_equal(again.encode(["a dog"])[0], encoder.encode(["a dog"])[0])


def test_bfloat16_is_close_to_float32(encoder, tmp_path):
    half = UMT5Encoder(write_folder(tmp_path))
    assert half._weights._embedding.dtype == "bfloat16"
    (one,), (other,) = half.encode(["a dog"]), encoder.encode(["a dog"])
    assert half.identity != encoder.identity
    np.testing.assert_allclose(one, other, atol=0.05 * np.abs(other).max())


def test_files_of_another_model_are_refused(tmp_path):
    folder = write_folder(tmp_path, "t5")
    with pytest.raises(InputError, match="model_type: found 't5', expected 'umt5'"):
        UMT5Encoder(folder)
    with pytest.raises(InputError, match=r"backbone\.text_width: found 32, expected 16"):
        make_encoder("t5", width=32, folder=str(folder))
    with pytest.raises(InputError, match=r"prepare\.encoder_from: empty, expected the folder"):
        make_encoder("t5", width=16)


def test_a_missing_layer_is_named(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "umt5", **SIZES, "num_layers": 3})
    )
    with pytest.raises(InputError, match=r"missing: encoder\.block\.2\.layer\.0.* and \d+ more"):
        UMT5Encoder(folder)


def test_tokens_are_counted_without_weights(encoder, tmp_path):
    folder = write_folder(tmp_path)
    (folder / "model.safetensors").unlink()
    counter = UMT5Encoder.load_counter(folder, width=0)
    texts = ["", "the dog", " the  dog &amp; the dog "]
    assert [counter.count(text) for text in texts] == list(map(len, encoder.encode(texts)))
    assert counter.count("the dog " * 300) > counter.max_tokens == 512


def test_padding_counts_where_the_base_model_sees_it(tmp_path):
    counter = T5Encoder.load_counter(write_folder(tmp_path, "t5"), width=0)
    assert (counter.count("the dog"), counter.max_tokens) == (256, 256)
    assert counter.count("the dog " * 300) > 256
