"""Safetensors, strictly: the named tensors in the named shapes, or one clear line; written whole.

A path and the expected names and shapes enter, numpy arrays leave. Imported weights can be wrong
and still give numbers (a layer left at random does), hence no lenient mode: a tensor that the
caller has no use for is listed as dropped, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from lct_jax.errors import InputError

_NAMES_SHOWN = 8


def load_tensors(
    path: str | Path,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """Loads the tensors named in `shapes`.

    Args:
      path: a safetensors file.
      shapes: the expected tensors; each must be there in this shape.
      dropped: tensors that may be in the file and are not read, each with the reason; may be empty.

    Returns:
      name -> array, in the dtype of the file (bfloat16 included), in the order of `shapes`.

    Raises:
      InputError: the file is missing, truncated or not safetensors, or its names and shapes are not
        the expected ones.
    """
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()  # the handle itself cannot be iterated
            found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            _check_shapes(path, found=found, expected=shapes, dropped=dropped)
            return {name: file.get_tensor(name) for name in shapes}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected a safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected a safetensors file, found: {error}") from error


def load_tensors_of(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Loads the named tensors, of whatever shapes; raises InputError where one or the file is not there or damaged."""
    try:
        found = load_file(path)
        return {name: found[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def save_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays as safetensors, complete or not at all; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(dump_tensors(tensors, metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def dump_tensors(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Arrays as the bytes of a safetensors file."""
    # The library writes an array's memory as it lies: a transposed one would come back scrambled.
    rows = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(rows, metadata=None if metadata is None else dict(metadata))


def hash_file(path: str | Path) -> str:
    """Returns a file's sha256 as 64 hex digits, read in pieces; InputError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read, {error.strerror}") from error


def _check_shapes(
    path: str | Path,
    *,
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
) -> None:
    wrong = [
        f"{name} {found[name]} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != tuple(shape)
    ]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": sorted(found.keys() - expected.keys() - dropped.keys()),
        "wrong shape": wrong,
    }
    lines = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if lines:
        raise InputError(f"{path}: tensors differ from what is expected; {'; '.join(lines)}")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
