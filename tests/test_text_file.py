"""Texts that are encoded beforehand, and encoders whose weights are freed."""

from __future__ import annotations

import gc
import weakref

import jax
import numpy as np
import pytest
from t5_files import write_folder

from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.encoders.text_file import FreeableEncoder, TextFile, save_texts
from lct_jax.encoders.umt5 import UMT5Encoder
from lct_jax.errors import InputError
from lct_jax.tensors import save_tensors


def test_tokens_are_read_back_as_they_were_encoded(tmp_path):
    path, encoder = tmp_path / "texts.safetensors", StandInEncoder(6)
    assert save_texts(path, encoder, ["a dog", "", "a dog"]) == 2
    file = TextFile(path)
    assert (file.width, file.identity) == (6, "stand-in-v1:width-6")
    asked = ["", "a dog", ""]
    for found, expected in zip(file.encode(asked), encoder.encode(asked), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_text_that_is_not_in_the_file_is_refused(tmp_path):
    path = tmp_path / "texts.safetensors"
    save_texts(path, StandInEncoder(6), ["a dog"])
    with pytest.raises(
        InputError, match=r"texts\.safetensors: no tokens of 'a cat', expected them among its 1"
    ):
        TextFile(path).encode(["a dog", "a cat"])


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"x": np.zeros(1)}, {"meta": "{}"})
    with pytest.raises(InputError, match=r"format: found None, expected 'lct_jax\.texts/1'"):
        TextFile(path)


class Loads:
    """Loads encoders, counts them, and keeps none."""

    def __init__(self) -> None:
        self.made: list[weakref.ref] = []
        self.width = 4

    def __call__(self) -> StandInEncoder:
        encoder = StandInEncoder(self.width)
        self.made.append(weakref.ref(encoder))
        return encoder


def test_a_freed_encoder_is_gone_and_what_it_encoded_stays():
    load = Loads()
    encoder = FreeableEncoder(load)
    (first,) = encoder.encode(["rain"])
    encoder.free()
    gc.collect()
    assert [reference() for reference in load.made] == [None]
    assert encoder.encode(["rain", "rain"])[1] is first
    assert len(load.made) == 1
    (snow,) = StandInEncoder(4).encode(["snow"])
    np.testing.assert_array_equal(encoder.encode(["snow"])[0], snow)
    assert len(load.made) == 2


def test_a_freed_umt5_leaves_no_array_on_the_devices(tmp_path):
    folder = write_folder(tmp_path)
    before = len(jax.live_arrays())
    encoder = FreeableEncoder(lambda: UMT5Encoder(folder, dtype="float32"))
    (tokens,) = encoder.encode(["a dog in the rain"])
    assert tokens.shape == (6, 16)
    assert len(jax.live_arrays()) > before + 10
    encoder.free()
    gc.collect()
    assert len(jax.live_arrays()) == before


def test_an_encoder_that_changed_while_it_was_freed_is_refused():
    load = Loads()
    encoder = FreeableEncoder(load)
    encoder.free()
    load.width = 5
    with pytest.raises(InputError, match="found stand-in-v1:width-5, expected stand-in-v1:width-4"):
        encoder.encode(["rain"])
