"""Converts published pickles of arrays to safetensors without running anything in them.

A pickle is a program. This reader runs only the two kinds of programs that make nested dictionaries of numpy arrays or
of PyTorch's tensors, and only out of a file whose sha256 is pinned in our source. PyTorch itself is not needed.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lct_jax.errors import InputError
from lct_jax.files import hash_file
from lct_jax.tensors import save_tensors

# This is numpy's own function, wherever this version of numpy defines it.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
# The only names that a pickled array needs, in numpy before and after version 2.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Tensor(NamedTuple):
    """A tensor of PyTorch whose numbers are not read yet: a view of a storage, with offset and strides in
    elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


# What a dictionary of tensors asks for: a function that makes a view of a storage, and types of storages.
_ALLOWED_OF_TORCH = {
    ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: _Tensor(*arguments[:4]),
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "HalfStorage"): np.dtype("<f2"),
    ("torch", "LongStorage"): np.dtype("<i8"),
    ("collections", "OrderedDict"): OrderedDict,
}
# The first number of a file that `torch.save` wrote before it wrote zip files (version 1.6).
_MAGIC = 0x1950A86A20F9469CFC6C


def convert_pickle(path: Path, out: Path, *, sha256: str) -> None:
    """Writes the arrays of a pickled nested dictionary as safetensors, under their keys joined by dots.

    Raises:
        InputError: the file is missing, is not the pinned one, or holds anything but arrays in dictionaries.
    """
    _convert(path, out, sha256=sha256, read=lambda file: _Reader(file).load())


def convert_torch(path: Path, out: Path, *, sha256: str) -> None:
    """Writes the tensors of a dictionary that `torch.save` wrote, in its zip format or the older one, as safetensors.

    Raises:
        InputError: the file is missing, is not the pinned one, or holds anything but tensors in dictionaries.
    """
    _convert(path, out, sha256=sha256, read=_read_torch)


def _convert(path: Path, out: Path, *, sha256: str, read: Callable[[IO[bytes]], Any]) -> None:
    found = hash_file(path)
    if found != sha256:
        raise InputError(f"{path}: found sha256 {found}, expected {sha256}")
    with path.open("rb") as file:
        try:
            tree = read(file)
        except (pickle.UnpicklingError, zipfile.BadZipFile, LookupError, ValueError) as error:
            raise InputError(f"{path}: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(out, dict(_flatten(path, tree)))


class _Reader(pickle.Unpickler):
    allowed: Mapping[tuple[str, str], Any] = _ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"found a pickle that asks for {module}.{name}, expected arrays alone"
            ) from None


class _TorchReader(_Reader):
    allowed = _ALLOWED_OF_TORCH

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key = pid[:3]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"found a reference to {kind!r}, expected a storage")
        return _Storage(key, dtype)


def _read_torch(file: IO[bytes]) -> Any:
    """Returns the dictionary in a file of `torch.save`, with numpy arrays in place of tensors."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(listing) as data:
                tree = _TorchReader(data).load()
            folder = listing.removesuffix("data.pkl")
            return _fill(tree, lambda storage: archive.read(f"{folder}data/{storage.key}"))
    file.seek(0)
    if _TorchReader(file).load() != _MAGIC:
        raise pickle.UnpicklingError("found no file of torch.save, expected one")
    _version, _system, tree, keys = (_TorchReader(file).load() for _ in range(4))
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tree.values()}
    # Each storage is the number of its elements, 8 bytes, and the elements.
    storages = {
        key: file.read(int.from_bytes(file.read(8), "little") * dtypes[key].itemsize)
        for key in keys
    }
    return _fill(tree, lambda storage: storages[storage.key])


def _fill(tree: Any, read: Callable[[_Storage], bytes]) -> Any:
    if isinstance(tree, Mapping):
        return {name: _fill(part, read) for name, part in tree.items()}
    if not isinstance(tree, _Tensor):
        return tree
    numbers = np.frombuffer(read(tree.storage), tree.storage.dtype)[tree.offset :]
    reach = 1 + sum((n - 1) * step for n, step in zip(tree.shape, tree.strides, strict=True))
    if min(tree.shape, default=1) < 1 or min(tree.strides, default=0) < 0 or reach > len(numbers):
        raise ValueError(f"found {len(numbers)} numbers for a tensor that reaches to {reach}")
    strides = [step * numbers.itemsize for step in tree.strides]
    view = np.lib.stride_tricks.as_strided(numbers, tree.shape, strides, writeable=False)
    return np.array(view)


def _flatten(path: Path, tree: Any, prefix: str = "") -> list[tuple[str, np.ndarray]]:
    if isinstance(tree, np.ndarray) and tree.dtype != object:
        return [(prefix, tree)]
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: found {type(tree).__name__} at {prefix!r}, expected arrays")
    flat = []
    for name, part in tree.items():
        flat += _flatten(path, part, f"{prefix}.{name}" if prefix else str(name))
    return flat
