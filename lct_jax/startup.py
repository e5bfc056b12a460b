"""What a program does before it uses JAX: it chooses where compiled programs are kept, and which backends are tried.

    define_compilation_cache()          # beside the program's flags: --nocompilation_cache
    use_compilation_cache(workdir)      # in main, before anything is compiled

Compiled programs are kept on disk (the persistent compilation cache of JAX), so that a second start compiles nothing.
The folder is the first of these: `JAX_COMPILATION_CACHE_DIR`, which JAX reads itself; `LCT_CACHE_DIR`;
`WORKDIR/compiled` of a program that writes into a work folder; a folder in the cache of the user, which is
`XDG_CACHE_HOME` or `~/.cache`. A program that only reads a run never uses the cache of that run: what is in a cache is
executed, and a run may come from somebody else.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
import zlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import jax
from absl import flags

from lct_jax.errors import InputError, one_line

VARIABLE = "LCT_CACHE_DIR"
FOLDER = "compiled"
# The modification time of this file is that of the last check.
CHECKED = ".checked"
# JAX names the entries of the cache like this.
ENTRIES = "*-cache"
# The first byte of what JAX compresses without zstandard.
ZLIB = b"\x78"
# A machine with any of these may have TPUs, and JAX must look for them.
TPU_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")
TPU_VARIABLES = ("TPU_", "CLOUD_TPU_", "PJRT_DEVICE")
# Where libtpu is installed, the import of JAX sets these two, and the second one only where it finds no TPU.
SET_BY_JAX = ("TPU_LIBRARY_PATH", "TPU_SKIP_MDS_QUERY")


def define_compilation_cache() -> None:
    """Defines the flag `--compilation_cache`, on by default."""
    flags.DEFINE_bool(
        "compilation_cache", True, f"Keep compiled programs in {VARIABLE}, or the work folder."
    )


def use_compilation_cache(workdir: Path | None = None) -> Path | None:
    """Turns the persistent compilation cache on, unless `--nocompilation_cache` is given or JAX has one.

    Entries that a killed process left half written are removed first: JAX would complain of them at every start.

    Args:
        workdir: the work folder that the program writes into; None of a program without one.

    Returns:
        The folder, or None where there is no cache of this project's choice.

    Raises:
        InputError: `LCT_CACHE_DIR` names a folder that cannot be made or written.
    """
    if not flags.FLAGS.compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    if jax.config.jax_compilation_cache_dir:
        return None
    folder = choose_folder(workdir, os.environ)
    try:
        drop_broken(folder)
    except OSError as error:
        if os.environ.get(VARIABLE):
            raise InputError(
                f"{VARIABLE}: {folder}: {one_line(error)}, expected a folder to write to"
            ) from None
        print(
            f"note: {folder}: {one_line(error)}; compiled programs are not kept ({VARIABLE})",
            file=sys.stderr,
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # A start compiles dozens of small programs, each in less than the second from which JAX caches by default.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


def choose_folder(workdir: Path | None, environment: Mapping[str, str]) -> Path:
    """Returns the folder of the cache by environment and work folder, as the module's docstring says."""
    if chosen := environment.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    if workdir is not None:
        return workdir.absolute() / FOLDER
    home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lct_jax" / FOLDER


def drop_broken(folder: Path) -> None:
    """Removes entries that cannot be read, of those written since the last check; makes the folder.

    JAX writes an entry in place and never writes one twice, so what a killed process left stays broken. An entry that
    another process is writing at this moment may be removed too, and is then compiled once more.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp, started = folder / CHECKED, folder / f"{CHECKED}.{os.getpid()}"
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    # This comes before the list is read, and has the clock of the file system that holds the entries.
    started.touch()
    for entry in folder.glob(ENTRIES):
        try:
            if entry.stat().st_mtime_ns >= since and _is_broken(entry.read_bytes()):
                entry.unlink()
        # Another process may have removed it.
        except FileNotFoundError:
            continue
    started.replace(stamp)


def _is_broken(content: bytes) -> bool:
    """Returns whether an entry is empty, or is a stream of zlib that is cut short."""
    # Where zstandard is installed, JAX uses it instead of zlib.
    if not content.startswith(ZLIB):
        return not content
    stream = zlib.decompressobj()
    try:
        stream.decompress(content)
    except zlib.error:
        return True
    return not stream.eof


def skip_missing_tpu() -> None:
    """Keeps JAX from trying libtpu on a machine that shows no sign of a TPU, where libtpu prints a page of complaints.

    Nothing is changed where `JAX_PLATFORMS` is set, where libtpu is not installed, or where a plugin for other
    accelerators is.
    """
    if jax.config.jax_platforms or importlib.util.find_spec("libtpu") is None:
        return
    if not entry_points(group="jax_plugins") and not may_have_tpu(os.environ):
        jax.config.update("jax_platforms", "cpu")


def may_have_tpu(environment: Mapping[str, str], files: tuple[str, ...] = TPU_FILES) -> bool:
    """Returns whether there is a device file of a TPU, or a variable that is set where there are some."""
    names = environment.keys() - set(SET_BY_JAX)
    named = any(name.startswith(TPU_VARIABLES) for name in names)
    return named or any(glob.glob(pattern) for pattern in files)
