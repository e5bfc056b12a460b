"""Lets one process at a time write in a folder, across processes and, where the file system can, across machines."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from absl import logging

from lct_jax.errors import InputError, one_line
from lct_jax.files import describe_unguarded, lock

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path, *, doing: str) -> Iterator[None]:
    """Holds the lock of a folder, which must exist; the kernel frees it however the process ends.

    Where the file system has no locks (Lustre mounted without `-o flock`), a warning says that nothing guards the
    folder, and the block runs all the same.

    Args:
        folder: the folder to lock.
        doing: what the holder does, which another process is told when it is refused.

    Raises:
        InputError: another process holds the lock, or the folder cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        file = _take(path, doing)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {one_line(error)}") from None
    try:
        yield
    finally:
        # The name goes before the lock, so that a process which opened this file before sees that it has no name.
        path.unlink(missing_ok=True)
        file.close()


def _take(path: Path, doing: str) -> IO[str]:
    """Returns the lock file, open and locked, and still under the name that it was opened by."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            unguarded = lock(file, wait=False)
        except BlockingIOError:
            holder = _read_holder(file)
            raise InputError(f"{path.parent}: another process {holder}is {doing}") from None
        if unguarded is not None:
            logging.warning(describe_unguarded(path.parent, unguarded))
            return file
        if _has_name(file, path):
            file.truncate(0)
            file.write(f"{os.getpid()} on {socket.gethostname()}")
            file.flush()
            return file
        file.close()


def _has_name(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _read_holder(file: IO[str]) -> str:
    """Returns who holds the lock, as the holder wrote it, and closes the file."""
    with file:
        file.seek(0)
        found = file.read(200)
    return f"({found}) " if found else ""
