"""Files and folders written whole or not at all: what is read is never half of something.

A path enters; the block of a `with` gets a temporary name beside it, which is renamed to the path when the block has
ended well. That name is fixed: what a killed writer left is overwritten by the next one and does not gather.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lct_jax.errors import InputError, one_line


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Gives an empty temporary file in the folder of `path`, which is made; renamed to `path` if the block succeeds.

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
    """Gives an empty temporary folder beside `folder`, which it becomes if the block succeeds; one writer at a time."""
    unfinished = _temporary(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
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
    """Makes an empty file that is this writer's alone; another writer of the same name waits until it is renamed."""
    file = path.open("ab")
    while not _is_own(file, path):
        file.close()  # the writer that was waited for has renamed what was opened here
        file = path.open("ab")
    with file:
        file.truncate(0)
        yield


def _is_own(file: IO[bytes], path: Path) -> bool:
    """Locks an open file, when it is its turn, and says whether it still has its name."""
    if lock(file, wait=True) is not None:
        return True  # two writers at once may fail there, in a line
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def lock(file: IO[Any], *, wait: bool) -> str | None:
    """Locks an open file for as long as it is open: until the process ends, in whatever way.

    Args:
        wait: for another process that holds the lock.

    Returns:
        None, or what the system says where the file system knows no locks, such as Lustre mounted without `-o flock`:
        then nobody guards the file, and the caller must do without.

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
    """Returns the line about a folder whose file system knows no locks. `reason` is what `lock` returned."""
    return (
        f"{folder}: this file system has no locks ({reason}), so nobody guards the folder: "
        "do not run two programs in it"
    )
