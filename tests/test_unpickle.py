"""Published pickles: arrays are read, programs are not run, and only the pinned file is opened."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import load_file

from lct_jax.codecs.lpips import load_lpips
from lct_jax.errors import InputError
from lct_jax.unpickle import convert_pickle, convert_torch


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


class FakeStorage:
    """Stands for a storage of PyTorch, which its pickler replaces by a reference."""

    def __init__(self, kind: type, key: str, numbers: np.ndarray) -> None:
        self.kind, self.key, self.numbers = kind, key, numbers


class FakeTensor:
    """Is pickled as PyTorch pickles a tensor: as a view of a storage, here a transposed one behind one number."""

    def __init__(self, storage: FakeStorage) -> None:
        self.storage = storage

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (self.storage, 1, (3, 2), (1, 3), False, OrderedDict())


class TorchPickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, FakeStorage):
            return ("storage", value.kind, value.key, "cpu", len(value.numbers))
        return None


@pytest.fixture
def torch_tree(monkeypatch):
    """Returns a dictionary of one tensor, pickled under the names of PyTorch, which is not needed for it."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("the reader must not call it")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        utils.__name__,
        "_rebuild_tensor_v2",
    )
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    storage = FakeStorage(torch.FloatStorage, "7", np.arange(7, dtype="<f4"))
    return OrderedDict(weight=FakeTensor(storage))


def dump(value: object) -> bytes:
    buffer = io.BytesIO()
    TorchPickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def write_zip(path, tree, numbers: bytes) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", dump(tree))
        archive.writestr("archive/data/7", numbers)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_former(path, tree, numbers: bytes) -> str:
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tree, ["7"])
    count = (len(numbers) // 4).to_bytes(8, "little")
    path.write_bytes(b"".join(map(dump, parts)) + count + numbers)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("write_torch", [write_zip, write_former])
def test_tensors_of_pytorch_are_read_in_both_formats(tmp_path, torch_tree, write_torch):
    source, out = tmp_path / "weights.pth", tmp_path / "weights.safetensors"
    numbers = np.arange(7, dtype="<f4").tobytes()
    convert_torch(source, out, sha256=write_torch(source, torch_tree, numbers))
    np.testing.assert_array_equal(load_file(out)["weight"], [[1, 4], [2, 5], [3, 6]])


@pytest.mark.parametrize("write_torch", [write_zip, write_former])
def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path, torch_tree, write_torch):
    source = tmp_path / "weights.pth"
    digest = write_torch(source, torch_tree, np.arange(6, dtype="<f4").tobytes())
    with pytest.raises(InputError, match="found 5 numbers for a tensor that reaches to 6"):
        convert_torch(source, tmp_path / "out.safetensors", sha256=digest)


@pytest.mark.parametrize("write_torch", [write_zip, write_former])
def test_programs_in_files_of_pytorch_are_refused(tmp_path, write_torch):
    source, touched = tmp_path / "weights.pth", tmp_path / "touched"
    digest = write_torch(source, {"a": Program(touched)}, b"")
    with pytest.raises(InputError, match=r"asks for (io|_io)\.open, expected arrays alone"):
        convert_torch(source, tmp_path / "out.safetensors", sha256=digest)
    assert not touched.exists()
