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
from typing import IO

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
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return True  # some network file systems know no locks: two writers at once may fail there, in a line
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
