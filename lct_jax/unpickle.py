"""Converts published pickles of arrays to safetensors without running anything in them.

A pickle is a program. This reader runs only the one kind of program that makes nested dictionaries of numpy arrays, and
only out of a file whose sha256 is pinned in our source.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lct_jax.errors import InputError
from lct_jax.tensors import hash_file, save_tensors

# This is numpy's own function, wherever this version of numpy defines it.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
# The only names that a pickled array needs, in numpy before and after version 2.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def convert_pickle(path: Path, out: Path, *, sha256: str) -> None:
    """Writes the arrays of a pickled nested dictionary as safetensors, under their keys joined by dots.

    Raises:
        InputError: the file is missing, is not the pinned one, or holds anything but arrays in dictionaries.
    """
    found = hash_file(path)
    if found != sha256:
        raise InputError(f"{path}: found sha256 {found}, expected {sha256}")
    with path.open("rb") as file:
        try:
            tree = _Reader(file).load()
        except pickle.UnpicklingError as error:
            raise InputError(f"{path}: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(out, dict(_flatten(path, tree)))


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"found a pickle that asks for {module}.{name}, expected arrays alone"
            ) from None


def _flatten(path: Path, tree: Any, prefix: str = "") -> list[tuple[str, np.ndarray]]:
    if isinstance(tree, np.ndarray) and tree.dtype != object:
        return [(prefix, tree)]
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: found {type(tree).__name__} at {prefix!r}, expected arrays")
    flat = []
    for name, part in tree.items():
        flat += _flatten(path, part, f"{prefix}.{name}" if prefix else str(name))
    return flat
