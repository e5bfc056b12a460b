"""Reads and writes safetensors strictly: named tensors in named shapes, or one clear error line.

Imported weights can be wrong and still give numbers (a layer that keeps random values does), so there is no lenient
mode: a tensor that the caller has no use for is listed as dropped, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_NAMES_SHOWN = 8
_NUMBERS_A_PIECE = 2**24


def load_tensors(
    path: str | Path,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
    dtypes: frozenset[str] = FLOATS,
) -> dict[str, np.ndarray]:
    """Returns the tensors named in `shapes` from one file, in that order; arguments and errors as in `iter_tensors`."""
    tensors = dict(iter_tensors([path], shapes=shapes, dropped=dropped, dtypes=dtypes))
    return {name: tensors[name] for name in shapes}


def iter_tensors(
    paths: Sequence[str | Path],
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
    dtypes: frozenset[str] = FLOATS,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the tensors named in `shapes`, each once, one in memory at a time.

    Args:
        paths: safetensors files that make up one set of weights.
        shapes: the expected tensors; each must be there in this shape.
        dropped: tensors that may be in the files and are not read, each with the reason; may be empty.
        dtypes: the dtypes that a tensor may have, in the names of the format.

    Yields:
        Name and array, in the dtype of the file (bfloat16 included). All names, shapes and dtypes are checked first.

    Raises:
        InputError: a file is missing, truncated or not safetensors, or names, shapes or dtypes are not the expected
            ones.
    """
    for path, names in _find_tensors(paths, shapes=shapes, dropped=dropped, dtypes=dtypes):
        with _open(path) as file:
            for name in names:
                with _naming(path, name):
                    yield name, file.get_tensor(name)


class Rows(NamedTuple):
    """Consecutive rows of a tensor, from number `start` on."""

    name: str
    start: int
    rows: np.ndarray


def iter_rows(
    paths: Sequence[str | Path],
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
    dtypes: frozenset[str] = FLOATS,
) -> Iterator[Rows]:
    """Yields what `iter_tensors` does, but a large tensor in pieces, so that a cast or copy never holds all of it
    twice.

    A file is opened anew for each piece, because what was read of it counts as memory in use until it is closed.
    """
    for path, names in _find_tensors(paths, shapes=shapes, dropped=dropped, dtypes=dtypes):
        for name in names:
            rows = shapes[name][0]
            length = max(1, _NUMBERS_A_PIECE // math.prod(shapes[name][1:]))
            for start in range(0, rows, length):
                stop = min(start + length, rows)
                yield Rows(name, start, read_part(path, name, (slice(start, stop),)))


def read_part(path: str | Path, name: str, index: tuple[slice, ...]) -> np.ndarray:
    """Returns the part of a tensor at `index`, in the dtype of the file, and reads no more than that.

    The file is opened for this part alone, because what was read of it counts as memory in use until it is closed.
    """
    with _open(path) as file, _naming(path, name):
        return file.get_slice(name)[index]


def check_tensors(
    *paths: str | Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: frozenset[str] = FLOATS,
) -> None:
    """Raises InputError unless files hold the tensors named in `shapes`, in these shapes, and no others."""
    _find_tensors(paths, shapes=shapes, dropped={}, dtypes=dtypes)


def find_shards(folder: Path, stem: str, *, variant: str = "") -> list[Path]:
    """Returns the files of weights published as `STEM.safetensors`, or in parts with `STEM.safetensors.index.json`.

    A `variant` such as "fp16" stands in these names as diffusers has it: `STEM.fp16.safetensors`,
    `STEM.safetensors.index.fp16.json`.
    """
    dotted = f".{variant}" if variant else ""
    index = folder / f"{stem}.safetensors.index{dotted}.json"
    if not index.exists():
        return [folder / f"{stem}{dotted}.safetensors"]
    names = read_config(index).get("weight_map", {}).values()
    wrong = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if wrong or not names:
        raise InputError(
            f"{index}: weight_map: found {wrong[:1]}, expected names of files beside it"
        )
    return [folder / name for name in sorted(set(names))]


def list_names(paths: Sequence[str | Path]) -> list[str]:
    """Returns the names of the tensors in files, read from their headers; raises InputError as `iter_tensors`."""
    names: list[str] = []
    for path in paths:
        with _open(path) as file:
            names += file.keys()
    return names


def read_config(path: Path) -> dict[str, Any]:
    """Returns a JSON object published beside weights; raises InputError where there is none."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected one beside the weights") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected an object")
    return values


def load_tensors_of(
    path: str | Path, names: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Returns the named tensors, of whatever shapes, and those of the `optional` ones that the file has.

    Raises:
        InputError: a tensor or the file is missing or damaged.
    """
    try:
        found = load_file(path)
        present = [name for name in optional if name in found]
        return {name: found[name] for name in (*names, *present)}
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def save_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays as safetensors, as a whole or not at all; the folder is made where it does not exist."""
    with replace_atomically(path) as unfinished:
        unfinished.write_bytes(dump_tensors(tensors, metadata))


def dump_tensors(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Returns arrays as the bytes of a safetensors file."""
    # The library writes an array's memory in its own order, so a transposed array would be read back scrambled.
    rows = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    return save(rows, metadata=None if metadata is None else dict(metadata))


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the texts in a file's header, empty where it has none; raises InputError if it is not safetensors."""
    with _open(path) as file:
        return file.metadata() or {}


def name_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a parameter tree by dotted name, in the order of the tree."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(_names(path)): leaf for path, leaf in flat}


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: str


def _open(path: str | Path) -> Any:
    try:
        return safe_open(path, framework="np")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected a safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected a safetensors file, found: {error}") from error


def _find_tensors(
    paths: Sequence[str | Path],
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
    dtypes: frozenset[str],
) -> list[tuple[str | Path, list[str]]]:
    """Returns which tensors of `shapes` each file has, in its order; raises InputError unless all are as expected."""
    found: dict[str, _Header] = {}
    repeated: list[str] = []
    holds = []
    for path in paths:
        with _open(path) as file:
            names = list(file.keys())
            repeated += [name for name in names if name in found]
            for name in names:
                part = file.get_slice(name)
                found[name] = _Header(tuple(part.get_shape()), part.get_dtype())
        holds.append((path, [name for name in names if name in shapes]))
    where = str(paths[0]) if len(paths) == 1 else f"{Path(paths[0]).parent}"
    _check(where, found=found, repeated=repeated, expected=shapes, dropped=dropped, dtypes=dtypes)
    return holds


@contextlib.contextmanager
def _naming(path: str | Path, name: str) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise InputError(f"{path}: {name} cannot be read: {error}") from error


def _check(
    where: str,
    *,
    found: Mapping[str, _Header],
    repeated: Sequence[str],
    expected: Mapping[str, tuple[int, ...]],
    dropped: Mapping[str, str],
    dtypes: frozenset[str],
) -> None:
    present = [name for name in expected if name in found]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": sorted(found.keys() - expected.keys() - dropped.keys()),
        "twice": repeated,
        "wrong shape": [
            f"{name} {found[name].shape} instead of {tuple(expected[name])}"
            for name in present
            if found[name].shape != tuple(expected[name])
        ],
        "wrong dtype": [
            f"{name} {found[name].dtype}" for name in present if found[name].dtype not in dtypes
        ],
    }
    lines = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if lines:
        raise InputError(f"{where}: tensors differ from what is expected; {'; '.join(lines)}")


def _names(path: tuple[Any, ...]) -> list[str]:
    """Returns path entries as text; the attribute under which a Param keeps its array is left out."""
    return [str(entry.key) for entry in path if not isinstance(entry, jax.tree_util.GetAttrKey)]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
