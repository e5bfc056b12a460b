"""Checkpoints of a run: Orbax stores the state, and JSON stores what the state means.

    WORKDIR/checkpoints/STEP/state   params, EMA, optimiser, step
    WORKDIR/checkpoints/STEP/meta    config, identities of codec and encoder, data position
    WORKDIR/codec.safetensors        the codec that made the latents, for sampling

Orbax writes into a temporary folder and renames it when it is complete, so a process that is killed while saving leaves
the previous checkpoint as the latest one; integrity.py finds what was damaged later. Only one run at a time writes into
a work folder: its process 0 holds a lock on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lct_jax.errors import InputError, make_folder
from lct_jax.files import describe_unguarded, lock
from lct_jax.tensors import name_leaves
from lct_jax.training.checkpoint.integrity import choose, find_missing, measure_size, seal
from lct_jax.training.checkpoint.literal_path import LiteralPath
from lct_jax.training.checkpoint.silence import OrbaxSilence
from lct_jax.training.checkpoint.weights import Meta
from lct_jax.training.state import TrainState
from lct_jax.versions import compare_versions, read_versions

FORMAT = "lct_jax.checkpoint/1"
# With these errors a system refuses to write: full, over a quota, too large a file, broken, read-only, not allowed.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)
# Seconds between two checks of a save that runs during training.
POLL = 0.1


class Checkpoints:
    """The checkpoints under a work folder; damaged ones are reported and not used.

    Args:
        workdir: the run's work folder.
        keep: how many checkpoints to keep; None opens them for reading only.

    Raises:
        InputError: opened for reading, and there is no complete checkpoint; opened for writing, and another process has
            opened them for writing; there are checkpoints, and all are damaged.
    """

    def __init__(self, workdir: str | Path, *, keep: int | None = None) -> None:
        # TensorStore takes no path with `..` in it.
        self.folder = Path(workdir).resolve() / "checkpoints"
        self._lock: IO[str] | None = None
        if keep is not None:
            make_folder(self.folder)
            # The lock of process 0 guards the folder for all processes of the run.
            if jax.process_index() == 0:
                self._lock = _lock(self.folder.parent / "lock")
        elif not self.folder.is_dir():
            raise InputError(f"{self.folder}: not found, expected the checkpoints of a run")
        # Damaged checkpoints must have been moved aside before Orbax lists the folder.
        try:
            self.latest = choose(self.folder, owner=keep is not None).step
        except InputError:
            self._unlock()
            raise
        if keep is None and self.latest is None:
            raise InputError(f"{self.folder}: no complete checkpoint, expected at least one")
        # On CPU a host copy may share memory with buffers that the next step donates, so saving is synchronous there.
        self._saves_async = jax.default_backend() != "cpu"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=False, enable_async_checkpointing=self._saves_async
        )
        self._manager = ocp.CheckpointManager(
            LiteralPath(self.folder), item_names=("state", "meta"), options=options
        )
        self._sealer = ThreadPoolExecutor(1)
        self._sealing: Future[None] | None = None
        self._size = 0 if self.latest is None else measure_size(self.folder / str(self.latest))
        self._reported_shortage, self._silence = False, OrbaxSilence()

    def save(self, state: TrainState, meta: Meta) -> float:
        """Saves a state under its own step, unless that step was saved already; returns the seconds that it took."""
        step, started = int(state.step), time.monotonic()
        if step == self.latest:
            return 0.0
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state._asdict()),
            meta=ocp.args.JsonSave(
                {
                    "format": FORMAT,
                    "position": step,
                    "versions": read_versions(),
                    **meta.to_json(),
                }
            ),
        )
        with self._named(step):
            self._finish_sealing()
            self._manager.save(step, args=args)
            if jax.process_index() == 0:
                self._sealing = self._sealer.submit(self._seal, self.folder / str(step))
            if not self._saves_async:
                self._finish_sealing()
        self.latest = step
        return time.monotonic() - started

    def find_shortage(self, state: TrainState) -> list[str]:
        """Returns a line where the disk has less room than the next checkpoint will take, once for each shortage.

        A checkpoint takes what the last one took; before there is one, it takes the bytes of the state.
        """
        needed = self._size or sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        reported, self._reported_shortage = self._reported_shortage, free < needed
        if reported or free >= needed:
            return []
        return [
            f"{self.folder}: {free / 1e9:.3g} GB free, and a checkpoint takes {needed / 1e9:.3g} GB: "
            "the next save will fail unless room is made"
        ]

    def read_meta(self) -> Meta:
        """Returns the meta of the latest checkpoint."""
        values = dict(self._restore(meta=ocp.args.JsonRestore()).meta)
        found = values.pop("format", None)
        if found != FORMAT:
            raise InputError(f"{self.folder}: found format {found!r}, expected {FORMAT!r}")
        # The position equals the step, which the state has.
        values.pop("position")
        values.pop("versions", None)
        return Meta.from_json(values, where=str(self.folder))

    def find_other_versions(self) -> str:
        """Returns a line of the versions that differ from those of the latest checkpoint, or "" where none do."""
        saved = self._restore(meta=ocp.args.JsonRestore()).meta.get("versions", {})
        return compare_versions(saved, read_versions())

    def restore(self, abstract_state: TrainState) -> TrainState:
        """Returns the latest state, in the shapes and shardings of `abstract_state`."""
        wanted = abstract_state._asdict()
        places = ocp.checkpoint_utils.construct_restore_args(wanted)
        args = ocp.args.PyTreeRestore(wanted, restore_args=places)
        return TrainState(**self._restore(state=args).state)

    def restore_weights(self, name: str, shapes: Any) -> Any:
        """Returns `params` or `ema` alone in the tree of `shapes`, whatever mesh they were trained on.

        A leaf of `shapes` that has a sharding is restored to it, and one that has none as a numpy array.

        Raises:
            InputError: the checkpoint has other parameters or other shapes, or cannot be read.
        """
        self._check_shapes(name, shapes)
        places = jax.tree.map(_restore_args, shapes)
        args = ocp.args.PyTreeRestore(
            {name: shapes}, restore_args={name: places}, partial_restore=True
        )
        return self._restore(state=args).state[name]

    def _check_shapes(self, name: str, shapes: Any) -> None:
        """Raises InputError at the first difference, before reads begin that Orbax does not end after a failure."""
        folder = self.folder / str(self.latest)
        saved = ocp.PyTreeCheckpointHandler().metadata(LiteralPath(folder / "state"))
        found = {
            path.removesuffix(".value"): tuple(leaf.shape)
            for path, leaf in name_leaves(saved.tree[name]).items()
        }
        wanted = {path: leaf.shape for path, leaf in name_leaves(shapes).items()}
        for path in sorted(found | wanted):
            if found.get(path) != wanted.get(path):
                raise InputError(
                    f"{folder}: cannot be restored ({name}.{path}: found {found.get(path, 'nothing')}, "
                    f"expected {wanted.get(path, 'nothing')})"
                )

    def _restore(self, **items: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(self.latest, args=ocp.args.Composite(**items))
        # Orbax raises no narrower type, with a message of a page.
        except Exception as error:
            raise InputError(
                f"{self.folder / str(self.latest)}: cannot be restored "
                f"({textwrap.shorten(str(error), 200)}); without it the run goes on from the one before"
            ) from error

    def close(self) -> None:
        """Waits for a save that is under way and for its manifest, and frees the lock."""
        with self._named(self.latest):
            self._manager.wait_until_finished()
            self._finish_sealing()
        self._manager.close()
        self._sealer.shutdown()
        self._silence.end()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _seal(self, checkpoint: Path) -> None:
        while self._manager.is_saving_in_progress():
            time.sleep(POLL)
        # Without the folder the save has failed, which the manager reports in its own thread.
        if checkpoint.is_dir():
            seal(checkpoint)
            self._size = measure_size(checkpoint)

    def _finish_sealing(self) -> None:
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()

    @contextlib.contextmanager
    def _named(self, step: int | None) -> Iterator[None]:
        """Turns a failure of a save, such as a full disk, into one line; earlier checkpoints stay whole."""
        self._silence.begin()
        try:
            yield
            self._silence.end()
        except (OSError, ValueError) as error:
            whole = _list_whole(self.folder)
            last = (
                f"the last checkpoint is that of step {max(whole)}"
                if whole
                else "there is no other checkpoint"
            )
            raise InputError(
                f"{self.folder / str(step)}: cannot be saved ({_find_reason(error)}); {last}"
            ) from error


def _list_whole(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints that have all that a restore needs."""
    paths = [path for path in folder.glob("*") if path.name.isdigit()]
    return [int(path.name) for path in paths if find_missing(path) is None]


def _find_reason(error: Exception) -> str:
    """Returns the system's reason, which TensorStore puts at the end of a page, else the beginning of the error."""
    said = (os.strerror(number) for number in REFUSALS)
    return next((text for text in said if text in str(error)), textwrap.shorten(str(error), 200))


def _lock(path: Path) -> IO[str]:
    """Returns an open, locked file; prints a line on stderr where the file system has no locks."""
    file = path.open("w")
    try:
        reason = lock(file, wait=False)
    except BlockingIOError:
        file.close()
        raise InputError(f"{path.parent}: another process is training into this folder") from None
    if reason is not None:
        print(f"note: {describe_unguarded(path.parent, reason)}", file=sys.stderr)
    return file


def _restore_args(wanted: jax.ShapeDtypeStruct | np.ndarray) -> ocp.RestoreArgs:
    # A numpy array has a shape as well, and no sharding.
    if getattr(wanted, "sharding", None) is None:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(
        dtype=wanted.dtype, sharding=wanted.sharding, global_shape=wanted.shape
    )
