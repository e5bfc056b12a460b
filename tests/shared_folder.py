"""A folder for what many tests read and none changes, made once in a session, by whichever worker needs it first."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# Set by the first process of a session, so that the workers of pytest-xdist inherit it, or by who starts sessions.
VARIABLE = "LCT_JAX_TESTS_SHARE"


def open_shared_folder() -> Callable[[], None] | None:
    """Makes the folder of this session and returns what removes it; returns None where whoever started us does both."""
    if VARIABLE in os.environ:
        return None
    folder = tempfile.mkdtemp(prefix="lct_jax_tests_")
    os.environ[VARIABLE] = folder

    def close() -> None:
        del os.environ[VARIABLE]
        shutil.rmtree(folder)

    return close


def shared_folder() -> Path:
    """Returns the folder of this session."""
    return Path(os.environ[VARIABLE])


def make_once(name: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder of this name in the shared one, made by the first who asks while others wait.

    Args:
        make: fills the folder, which is there and empty. Where it fails, the next who asks tries again.
    """
    folder, done = shared_folder() / name, shared_folder() / f"{name}.done"
    if done.exists():
        return folder
    with (shared_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
