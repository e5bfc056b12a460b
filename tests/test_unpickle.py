"""Published pickles: arrays are read, programs are not run, and only the pinned file is opened."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file

from lct_jax.codecs.lpips import load_lpips
from lct_jax.errors import InputError
from lct_jax.unpickle import convert_pickle


class Program:
    """A hostile pickle, which calls a function when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def write(path, tree) -> str:
    path.write_bytes(pickle.dumps(tree))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_in_dictionaries_are_kept_under_their_joined_keys(tmp_path):
    source, out = tmp_path / "weights.ckpt", tmp_path / "new" / "weights.safetensors"
    tree = {"a": {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.ones(3, np.float16)}}
    convert_pickle(source, out, sha256=write(source, tree))
    found = load_file(out)
    assert sorted(found) == ["a.bias", "a.kernel"]
    for name, array in tree["a"].items():
        np.testing.assert_array_equal(found[f"a.{name}"], array)
        assert found[f"a.{name}"].dtype == array.dtype


def test_a_file_that_is_not_the_pinned_one_is_not_opened(tmp_path):
    source, touched = tmp_path / "weights.ckpt", tmp_path / "touched"
    write(source, Program(touched))
    with pytest.raises(InputError, match=rf"found sha256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        convert_pickle(source, tmp_path / "out.safetensors", sha256="0" * 64)
    assert not touched.exists()


def test_pickled_programs_are_refused_and_not_run(tmp_path):
    """They are refused even in a file that has the expected hash."""
    source, touched, out = (tmp_path / name for name in ("w.ckpt", "touched", "out.safetensors"))
    digest = write(source, {"a": Program(touched)})
    with pytest.raises(InputError, match=r"asks for (io|_io)\.open, expected arrays alone"):
        convert_pickle(source, out, sha256=digest)
    assert not touched.exists()
    assert not out.exists()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [1.0]}, "found list at 'a', expected arrays"),
        ({"a": np.array([{}], object)}, "found ndarray at 'a', expected arrays"),
    ],
)
def test_anything_but_arrays_is_refused(tmp_path, tree, message):
    source = tmp_path / "weights.ckpt"
    digest = write(source, tree)
    with pytest.raises(InputError, match=message):
        convert_pickle(source, tmp_path / "out.safetensors", sha256=digest)


def test_missing_lpips_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("lct_jax.codecs.lpips.PACKAGE", "no-such-package")
    with pytest.raises(InputError, match=r"LPIPS: found no package no-such-package, expected it"):
        load_lpips("alexnet", folder=tmp_path)


@pytest.mark.slow
def test_lpips_weights_are_converted_once(tmp_path, monkeypatch):
    load_lpips("alexnet", folder=tmp_path)
    kept = tmp_path / "lpips_alexnet.safetensors"
    before = kept.read_bytes()
    monkeypatch.setattr("lct_jax.codecs.lpips.PACKAGE", "no-such-package")  # no longer looked for
    load_lpips("alexnet", folder=tmp_path)
    assert kept.read_bytes() == before
