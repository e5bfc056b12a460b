"""Whether a checkpoint is what was saved, which one is the last good one, and what becomes of a damaged one.

    WORKDIR/checkpoints/STEP/manifest.json   size and SHA-256 of every file of it, written once it is complete
    WORKDIR/damaged/STEP                     a checkpoint that is not what was saved: moved, never deleted

Orbax checks some of what it reads and not all: a flipped byte of metadata or of a small array comes through. So every
file is read once more after a save and before a restore, by the first process alone, in `THREADS` threads; OpenSSL's
SHA-256 does 1.7 GB/s a core with the instructions that processors have had since about 2017, and disks are slower.
Without a manifest (an earlier version's checkpoint, or a kill came between it and the save) only what must be there
is looked for.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.tensors import hash_file

MANIFEST = "manifest.json"
FORMAT = "lct_jax.manifest/1"
THREADS = 8
UNFINISHED = (
    ".orbax-checkpoint-tmp"  # in the name of a folder that Orbax is writing, or was when it ended
)
REQUIRED = ("_CHECKPOINT_METADATA", "meta/metadata", "state/_METADATA", "state/manifest.ocdbt")
NO_STEP = -1


class Choice(NamedTuple):
    """What a folder of checkpoints has to offer.

    Attributes:
        step: of the last good checkpoint, None without one. sealed: whether it has a manifest.
        damaged: what is wrong with those after it, by step.
    """

    step: int | None
    sealed: bool
    damaged: dict[int, str]


def seal(checkpoint: Path) -> None:
    """Writes the manifest of a complete checkpoint."""
    files = {name: [size, digest] for name, size, digest in _examine(checkpoint)}
    text = json.dumps({"format": FORMAT, "digest": _digest(files), "files": files}, indent=1)
    with replace_atomically(checkpoint / MANIFEST) as unfinished:
        unfinished.write_text(text)


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint: the file, what was found, what was expected. None if it is whole."""
    try:
        return _compare(checkpoint)
    except (OSError, InputError) as error:  # a disk that gives an error for a file has lost it
        return str(error)


def choose(folder: Path, *, owner: bool) -> Choice:
    """The last good checkpoint of a folder, the same on all processes: the first one looks, and tells the others.

    Args:
        folder: WORKDIR/checkpoints. owner: whether the run is ours, under its lock: then half-written saves are
            removed, and damaged checkpoints that a good one stands behind are moved aside. Otherwise nothing changes.

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
        told = [NO_STEP if choice.step is None else choice.step, choice.sealed, lost]
        step, sealed, lost = map(int, multihost_utils.broadcast_one_to_all(np.array(told)))
        choice = Choice(None if step == NO_STEP else step, bool(sealed), choice.damaged)
    if lost:
        found = "; ".join(f"{step}: {damage}" for step, damage in choice.damaged.items())
        raise InputError(
            f"{folder}: found no whole checkpoint, expected one "
            f"({found or 'the first process names the damage'})"
        )
    return choice


def measure_size(checkpoint: Path) -> int:
    """Bytes of a checkpoint."""
    return sum(path.stat().st_size for path in _list_files(checkpoint))


def _compare(checkpoint: Path) -> str | None:
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_bytes())
        expected = manifest["files"]
        if manifest["format"] != FORMAT or manifest["digest"] != _digest(expected):
            return f"{MANIFEST}: is not what was written"
    except FileNotFoundError:
        missing = [name for name in REQUIRED if not (checkpoint / name).is_file()]
        return f"{missing[0]}: missing" if missing else None
    except (ValueError, LookupError, TypeError) as error:
        return f"{MANIFEST}: cannot be read ({error})"
    files = _list_files(checkpoint)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
    for name, (size, _) in expected.items():  # first what costs nothing
        if sizes.get(name) != size:
            there = "missing" if name not in sizes else f"found {sizes[name]} bytes"
            return f"{name}: {there}, expected {size} bytes"
    for name, _, digest in _examine(checkpoint):
        if name in expected and digest != expected[name][1]:
            return f"{name}: its bytes are not those that were saved (SHA-256)"
    return None


def _look(folder: Path) -> Choice:
    damaged: dict[int, str] = {}
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
    for step in sorted(steps, reverse=True):
        damage = find_damage(folder / str(step))
        if not (folder / str(step)).is_dir():  # its run has gone on and deleted it meanwhile
            return _look(folder)
        if damage is None:
            return Choice(step, (folder / str(step) / MANIFEST).exists(), damaged)
        damaged[step] = damage
    return Choice(None, False, damaged)


def _report(folder: Path, choice: Choice, *, owner: bool) -> None:
    """Says what is not as it should be, a line each, and moves what is damaged aside."""
    for step, damage in choice.damaged.items():
        kept = f"; moved to {_move_aside(folder / str(step))}" if owner else ""
        _say(f"{folder / str(step)}: damaged, {damage}{kept}; going back to step {choice.step}")
    if choice.step is not None and not choice.sealed:
        _say(f"{folder / str(choice.step)}: has no {MANIFEST}, so it is used unchecked")


def _move_aside(checkpoint: Path) -> Path:
    """WORKDIR/damaged/STEP, or STEP.2 and so on."""
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
    """A line on stderr, once: a program may open the same checkpoints for their meta and for their weights."""
    print(line, file=sys.stderr)


def _list_files(checkpoint: Path) -> list[Path]:
    """Files of a checkpoint but for the manifest, in order."""
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    return sorted(path for path in files if MANIFEST not in path.name)  # nor one half written


def _examine(checkpoint: Path) -> Iterator[tuple[str, int, str]]:
    """Name, size and SHA-256 of every file but the manifest."""
    files = _list_files(checkpoint)
    with ThreadPoolExecutor(THREADS) as pool:
        for path, (size, digest) in zip(files, pool.map(_hash, files), strict=True):
            yield str(path.relative_to(checkpoint)), size, digest


def _hash(path: Path) -> tuple[int, str]:
    status = path.stat()
    return status.st_size, _hash_unchanged(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash_unchanged(path: Path, size: int, modified: int) -> str:
    """A file is read once a process, unless it has changed."""
    return hash_file(path)


def _digest(files: Mapping[str, object]) -> str:
    """SHA-256 of the manifest's own table."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
