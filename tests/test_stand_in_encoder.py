"""Tests that the stand-in encoder satisfies the protocol and gives the same numbers everywhere."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lct_jax.encoders.protocol import TextEncoder
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError

ROOT = Path(__file__).parents[1]


def test_stand_in_satisfies_the_protocol():
    encoder = StandInEncoder(width=24)
    assert isinstance(encoder, TextEncoder)
    assert (encoder.width, encoder.identity) == (24, "stand-in-v1:width-24")
    empty, three = encoder.encode(["", "A dog."])
    assert (empty.shape, empty.dtype) == ((2, 24), np.float32)
    assert (three.shape, three.dtype) == ((5, 24), np.float32)
    assert encoder.encode([]) == []


def test_numbers_are_literal():
    # sha256 fixes the numbers: any change of the recipe needs a new identity.
    (tokens_LE,) = StandInEncoder(width=3).encode(["dog"])
    np.testing.assert_allclose(tokens_LE[1], [0.047775, -0.825509, -1.601275], atol=1e-6)


@pytest.mark.programs
def test_vectors_are_equal_in_another_process():
    program = (
        "import sys; from lct_jax.encoders.stand_in import StandInEncoder;"
        "sys.stdout.buffer.write(StandInEncoder(width=20).encode(['a red fox'])[0].tobytes())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    (here,) = StandInEncoder(width=20).encode(["a red fox"])
    assert run.stdout == here.tobytes()


def test_vectors_depend_on_the_words_alone():
    red, blue = StandInEncoder(width=512).encode(["the red fox", "fox, the blue"])
    np.testing.assert_array_equal(red[[0, 1, 3, 4]], blue[[0, 3, 1, 5]])
    assert abs(np.corrcoef(red[2], blue[4])[0, 1]) < 0.2
    assert len(np.unique(np.concatenate([red, blue]), axis=0)) == 7
    np.testing.assert_allclose(red.mean(axis=1), 0, atol=0.15)
    np.testing.assert_allclose(red.var(axis=1), 1, atol=0.15)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one string", "texts: found one string 'one string', expected a sequence of strings"),
        (["fine", 3], r"texts\[1\]: found int, expected a string"),
        (["\ud800"], r"texts\[0\]: found '\\ud800', expected Unicode"),
    ],
)
def test_bad_texts_are_named(texts, message):
    with pytest.raises(InputError, match=message):
        StandInEncoder(width=4).encode(texts)


def test_bad_width_is_named():
    with pytest.raises(InputError, match="width: found 0, expected at least 1"):
        StandInEncoder(width=0)
