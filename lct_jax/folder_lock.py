"""One writer in a folder at a time, across processes and, where the file system agrees, across machines."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from absl import logging

from lct_jax.errors import InputError, one_line

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path, *, doing: str) -> Iterator[None]:
    """Holds the lock of a folder, which must exist; the kernel frees it however the process ends.

    Where the file system knows no locks (Lustre mounted without `-o flock`), a warning says that nobody guards the
    folder, and the block is run all the same.

    Args:
        doing: what the holder does, for the line that another process is refused with.

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
        # While the lock is still held: whoever opened this file before sees that it has lost its name.
        path.unlink(missing_ok=True)
        file.close()


def _take(path: Path, doing: str) -> IO[str]:
    """Returns the lock file, open and locked, with the name that it was opened by."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(file)
            raise InputError(f"{path.parent}: another process {holder}is {doing}") from None
        except OSError as error:
            logging.warning(
                "%s: this file system has no locks (%s), so nobody guards the folder: do not run two programs in it",
                path.parent, one_line(error),
            )  # fmt: skip
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
