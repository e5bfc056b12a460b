"""Writes files and folders as a whole or not at all, so that nobody reads an unfinished one.

The block of a `with` writes to a temporary name beside the path, which is renamed to the path when the block succeeds.
The name is fixed, so that the next writer overwrites what a killed one left, and leftovers do not accumulate.

Files and settings are told apart by hashes of what they hold.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from lct_jax.errors import InputError, make_folder, one_line

# Bytes of a piece that `hash_samples` reads, and their number.
_PIECE, _PIECES = 4096, 256
_HEADER_BYTES = 100 * 2**20  # the most that safetensors allows


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yields an empty temporary file in the folder of `path`, and renames it to `path` if the block succeeds.

    The folder is made where it does not exist.

    Raises:
        InputError: the file cannot be written.
    """
    unfinished = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claim(unfinished):
            try:
                yield unfinished
                os.replace(unfinished, path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {one_line(error)}") from None


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `folder`, and renames it to `folder` if the block succeeds.

    Only one writer at a time may use it.
    """
    unfinished = _temporary(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(unfinished)
    try:
        yield unfinished
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


@contextmanager
def _claim(path: Path) -> Iterator[None]:
    """Makes an empty file that only this writer has; a second writer of the same name waits until it is renamed."""
    file = path.open("ab")
    while not _is_own(file, path):
        # The writer before has renamed the file that was opened here.
        file.close()
        file = path.open("ab")
    with file:
        file.truncate(0)
        yield


def _is_own(file: IO[bytes], path: Path) -> bool:
    """Locks an open file when no other process holds it, and returns whether it still has its name."""
    if lock(file, wait=True) is not None:
        # Without locks, two writers at the same time may fail with an error.
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def lock(file: IO[Any], *, wait: bool) -> str | None:
    """Locks an open file until it is closed or the process ends, in whatever way.

    Args:
        wait: whether to wait for another process that holds the lock.

    Returns:
        None; or the system's message where the file system has no locks, such as Lustre mounted without `-o flock`.
            Then nothing guards the file, and the caller must do without.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        return one_line(error)
    return None


def describe_unguarded(folder: Path, reason: str) -> str:
    """Returns the line about a folder whose file system has no locks; `reason` is what `lock` returned."""
    return (
        f"{folder}: this file system has no locks ({reason}), so nobody guards the folder: "
        "do not run two programs in it"
    )


def hash_samples(paths: Iterable[Path]) -> str:
    """Returns a sha256 of the headers and sizes of safetensors files and of samples of their numbers, as 64 hex digits.

    It identifies published weights in no time. The header of a tuned network is that of the one it was tuned from, so
    pieces that are spread evenly over a file are hashed as well.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                length = int.from_bytes(file.read(8), "little")
                digest.update(f"{path.name} {size} ".encode())
                digest.update(file.read(min(length, _HEADER_BYTES)))
                start = min(8 + length, size)
                for place in np.linspace(start, max(size - _PIECE, start), _PIECES, dtype=int):
                    file.seek(place)
                    digest.update(file.read(_PIECE))
        except OSError as error:
            raise InputError(f"{path}: cannot be read, {error.strerror}") from error
    return digest.hexdigest()


def hash_file(path: str | Path) -> str:
    """Returns a file's sha256 as 64 hex digits, read in pieces; InputError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read, {error.strerror}") from error


def hash_of(*values: object) -> str:
    """Returns 16 hex digits, the hash of values that have one form as JSON."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
