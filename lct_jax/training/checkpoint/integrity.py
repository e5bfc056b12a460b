"""Whether a checkpoint is what was saved, which one is the last good one, and where a damaged one is moved to.

    WORKDIR/checkpoints/STEP/manifest.json   size and SHA-256 of each of its files, written once it is complete
    WORKDIR/damaged/STEP                     a checkpoint that is not what was saved: moved, never deleted

Orbax checks only a part of what it reads: it does not notice a flipped byte of metadata or of a small array. So every
file is read once more after a save and before a restore, by the first process alone, in `THREADS` threads. OpenSSL's
SHA-256 does 1.7 GB/s a core with the instructions that processors have had since about 2017, and disks are slower. A
checkpoint gets its manifest only if all that a restore needs is there: the files of `REQUIRED`, and every array that
the tree names, in the database into which the processes' files were merged. A checkpoint without a manifest, which an
earlier version saved or whose process was killed before it wrote one, is only checked for these.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tensorstore
from jax.experimental import multihost_utils

from lct_jax.errors import InputError
from lct_jax.files import hash_file, replace_atomically

MANIFEST = "manifest.json"
FORMAT = "lct_jax.manifest/1"
THREADS = 8
# This is in the name of a folder that Orbax is writing, or was writing when it was killed.
UNFINISHED = ".orbax-checkpoint-tmp"
TREE, MERGED = "state/_METADATA", "state/manifest.ocdbt"
REQUIRED = ("_CHECKPOINT_METADATA", "meta/metadata", TREE, MERGED)
ZARR = "/.zarray"
NO_STEP = -1


class Choice(NamedTuple):
    """The result of checking a folder of checkpoints.

    Attributes:
        step: the last good checkpoint, None without one.
        sealed: whether it has a manifest.
        damaged: what is wrong with later checkpoints, by step.
    """

    step: int | None
    sealed: bool
    damaged: dict[int, str]


def seal(checkpoint: Path) -> None:
    """Writes the manifest of a complete checkpoint; raises InputError where it could not be restored."""
    missing = find_missing(checkpoint)
    if missing is not None:
        raise InputError(f"it could not be restored: {missing}")
    files = {name: [size, digest] for name, size, digest in _examine(checkpoint)}
    text = json.dumps({"format": FORMAT, "digest": _digest(files), "files": files}, indent=1)
    with replace_atomically(checkpoint / MANIFEST) as unfinished:
        unfinished.write_text(text)


def identify(checkpoint: Path) -> str:
    """Returns a SHA-256 of all that a complete checkpoint holds; its manifest has it, where there is one."""
    try:
        return json.loads((checkpoint / MANIFEST).read_bytes())["digest"]
    except FileNotFoundError:
        return _digest({name: [size, digest] for name, size, digest in _examine(checkpoint)})


def find_damage(checkpoint: Path) -> str | None:
    """Returns what is wrong with a checkpoint: the file, what was found, what was expected. None if it is whole."""
    try:
        return _compare(checkpoint)
    # A file that the disk cannot read is lost.
    except (OSError, InputError) as error:
        return str(error)


def find_missing(checkpoint: Path) -> str | None:
    """Returns the first file or array that a restore needs and the checkpoint lacks; None if it has all.

    Only the names of the arrays are read, not their values.

    Raises:
        OSError: a file cannot be read.
    """
    for name in REQUIRED:
        if not (checkpoint / name).is_file():
            return f"{name}: missing"
    try:
        tree = json.loads((checkpoint / TREE).read_bytes())["tree_metadata"].values()
        arrays = [leaf for leaf in tree if not leaf["value_metadata"]["skip_deserialize"]]
        wanted = [".".join(str(step["key"]) for step in leaf["key_metadata"]) for leaf in arrays]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return f"{TREE}: cannot be read ({error})"
    try:
        present = _list_arrays(checkpoint / "state")
    # TensorStore's message has a page.
    except ValueError as error:
        return f"{MERGED}: cannot be read ({textwrap.shorten(str(error), 200)})"
    lost = [name for name in wanted if name not in present]
    return (
        f"{MERGED}: has no array {lost[0]!r}, {len(lost)} of {len(wanted)} are missing"
        if lost
        else None
    )


def _list_arrays(state: Path) -> set[str]:
    """Returns the names of the arrays in a database of Orbax, which are those with zarr's description of an array."""
    base = {"driver": "file", "path": f"{state}/"}
    database = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    keys = (key.decode() for key in database.list().result())
    return {key.removesuffix(ZARR) for key in keys if key.endswith(ZARR)}


def choose(folder: Path, *, owner: bool) -> Choice:
    """Returns the last good checkpoint of a folder; the first process finds it and broadcasts it to the others.

    Args:
        folder: WORKDIR/checkpoints.
        owner: whether the caller holds the run's lock. Then unfinished saves are removed, and damaged checkpoints are
            moved aside if there is an earlier good one. Otherwise nothing changes.

    Raises:
        InputError: there are checkpoints, and none is good.
    """
    first = jax.process_index() == 0
    choice = _look(folder) if first else Choice(None, False, {})
    if first and owner:
        _remove_unfinished(folder)
    lost = choice.step is None and bool(choice.damaged)
    if first and not lost:
        _report(folder, choice, owner=owner)
    if jax.process_count() > 1:
        result = [NO_STEP if choice.step is None else choice.step, choice.sealed, lost]
        step, sealed, lost = map(int, multihost_utils.broadcast_one_to_all(np.array(result)))
        choice = Choice(None if step == NO_STEP else step, bool(sealed), choice.damaged)
    if lost:
        found = "; ".join(f"{step}: {damage}" for step, damage in choice.damaged.items())
        raise InputError(
            f"{folder}: found no whole checkpoint, expected one "
            f"({found or 'the first process names the damage'})"
        )
    return choice


def measure_size(checkpoint: Path) -> int:
    """Returns the bytes of a checkpoint."""
    return sum(path.stat().st_size for path in _list_files(checkpoint))


def _compare(checkpoint: Path) -> str | None:
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_bytes())
        expected = manifest["files"]
        if manifest["format"] != FORMAT or manifest["digest"] != _digest(expected):
            return f"{MANIFEST}: is not what was written"
    except FileNotFoundError:
        return find_missing(checkpoint)
    except (ValueError, LookupError, TypeError) as error:
        return f"{MANIFEST}: cannot be read ({error})"
    files = _list_files(checkpoint)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
    # Sizes are compared first, since that costs nothing.
    for name, (size, _) in expected.items():
        if sizes.get(name) != size:
            found = "missing" if name not in sizes else f"found {sizes[name]} bytes"
            return f"{name}: {found}, expected {size} bytes"
    for name, _, digest in _examine(checkpoint):
        if name in expected and digest != expected[name][1]:
            return f"{name}: its bytes are not those that were saved (SHA-256)"
    return None


def _look(folder: Path) -> Choice:
    damaged: dict[int, str] = {}
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
    for step in sorted(steps, reverse=True):
        damage = find_damage(folder / str(step))
        # Its run may have gone on and deleted it meanwhile.
        if not (folder / str(step)).is_dir():
            return _look(folder)
        if damage is None:
            return Choice(step, (folder / str(step) / MANIFEST).exists(), damaged)
        damaged[step] = damage
    return Choice(None, False, damaged)


def _report(folder: Path, choice: Choice, *, owner: bool) -> None:
    """Prints a line for each problem, and moves damaged checkpoints aside."""
    for step, damage in choice.damaged.items():
        kept = f"; moved to {_move_aside(folder / str(step))}" if owner else ""
        _say(f"{folder / str(step)}: damaged, {damage}{kept}; going back to step {choice.step}")
    if choice.step is not None and not choice.sealed:
        _say(f"{folder / str(choice.step)}: has no {MANIFEST}, so it is used unchecked")


def _move_aside(checkpoint: Path) -> Path:
    """Moves a checkpoint to WORKDIR/damaged/STEP, or STEP.2 and so on, and returns the new path."""
    aside = checkpoint.parent.with_name("damaged")
    aside.mkdir(exist_ok=True)
    taken = sum(path.name.split(".")[0] == checkpoint.name for path in aside.iterdir())
    target = aside / (f"{checkpoint.name}.{taken + 1}" if taken else checkpoint.name)
    return checkpoint.rename(target)


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(f"*{UNFINISHED}*"):
        shutil.rmtree(path)


@functools.cache
def _say(line: str) -> None:
    """Prints a line on stderr once: a program may open the same checkpoints for their meta and for their weights."""
    print(line, file=sys.stderr)


def _list_files(checkpoint: Path) -> list[Path]:
    """Returns the files of a checkpoint but for the manifest, sorted."""
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    # The name of an unfinished manifest contains that of the manifest.
    return sorted(path for path in files if MANIFEST not in path.name)


def _examine(checkpoint: Path) -> Iterator[tuple[str, int, str]]:
    """Yields name, size and SHA-256 of every file but the manifest."""
    files = _list_files(checkpoint)
    with ThreadPoolExecutor(THREADS) as pool:
        for path, (size, digest) in zip(files, pool.map(_hash, files), strict=True):
            yield str(path.relative_to(checkpoint)), size, digest


def _hash(path: Path) -> tuple[int, str]:
    status = path.stat()
    return status.st_size, _hash_unchanged(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash_unchanged(path: Path, size: int, modified: int) -> str:
    """Returns a file's SHA-256; a file is read once a process, unless it has changed."""
    return hash_file(path)


def _digest(files: Mapping[str, object]) -> str:
    """Returns the SHA-256 of the manifest's own table."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
