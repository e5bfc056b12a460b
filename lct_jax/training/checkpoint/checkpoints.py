"""Checkpoints of a run: Orbax for the state, JSON for what the state means.

    WORKDIR/checkpoints/STEP/state   params, EMA, optimiser, step
    WORKDIR/checkpoints/STEP/meta    config, identities of codec and encoder, data position
    WORKDIR/codec.safetensors        the codec the latents came from, for sampling

Orbax writes into a temporary folder and renames it when complete, so a process killed while saving leaves the
previous checkpoint as the latest one; what was damaged later is found by integrity.py. One run at a time writes into a
work folder: its process 0 holds a lock on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from lct_jax.config import TrainingConfig
from lct_jax.distributed.sharding import place_tree, state_sharding
from lct_jax.errors import InputError, make_folder
from lct_jax.training.checkpoint.integrity import choose, measure_size, seal
from lct_jax.training.checkpoint.silence import OrbaxSilence
from lct_jax.training.checkpoint.weights import Meta, load_weights, read_weights_meta
from lct_jax.training.state import TrainState, init_state

FORMAT = "lct_jax.checkpoint/1"
# How a system refuses to write: full, over a quota, too large a file, broken, read-only, not allowed.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)
POLL = 0.1  # seconds between looks at a save that goes on beside the training


class Checkpoints:
    """The checkpoints under a work folder; what is damaged is told of and not used.

    Args:
        workdir: of the run. keep: how many to keep; None opens for reading only.

    Raises:
        InputError: opened for reading, and there is no complete checkpoint; opened for writing, and another process
            is at it; there are checkpoints, and all are damaged.
    """

    def __init__(self, workdir: str | Path, *, keep: int | None = None) -> None:
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._lock: IO[str] | None = None
        if keep is not None:
            make_folder(self.folder)
            if jax.process_index() == 0:  # for all processes of a run
                self._lock = _lock(self.folder.parent / "lock")
        elif not self.folder.is_dir():
            raise InputError(f"{self.folder}: not found, expected the checkpoints of a run")
        try:  # before Orbax looks: what is damaged has been moved aside then
            self.latest = choose(self.folder, owner=keep is not None).step  # whole, or None
        except InputError:
            self._unlock()
            raise
        if keep is None and self.latest is None:
            raise InputError(f"{self.folder}: no complete checkpoint, expected at least one")
        # On CPU a host copy may share memory with buffers the next step donates: save at once.
        self._beside = jax.default_backend() != "cpu"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=False, enable_async_checkpointing=self._beside
        )
        self._manager = ocp.CheckpointManager(
            self.folder, item_names=("state", "meta"), options=options
        )
        self._sealer = ThreadPoolExecutor(1)
        self._sealing: Future[None] | None = None
        self._size = 0 if self.latest is None else measure_size(self.folder / str(self.latest))
        self._told_of_space, self._quiet = False, OrbaxSilence()

    def save(self, state: TrainState, meta: Meta) -> float:
        """Saves a state under its own step, unless that step is there already; returns the seconds it took."""
        step, started = int(state.step), time.monotonic()
        if step == self.latest:
            return 0.0
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state._asdict()),
            meta=ocp.args.JsonSave({"format": FORMAT, "position": step, **meta.to_json()}),
        )
        with self._named(step):
            self._finish_sealing()
            self._manager.save(step, args=args)
            if jax.process_index() == 0:
                self._sealing = self._sealer.submit(self._seal, self.folder / str(step))
            if not self._beside:
                self._finish_sealing()
        self.latest = step
        return time.monotonic() - started

    def find_shortage(self, state: TrainState) -> list[str]:
        """A line where the disk has less room than the last checkpoint took, or the state takes; once a shortage."""
        needed = self._size or sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        told, self._told_of_space = self._told_of_space, free < needed
        if told or free >= needed:
            return []
        return [
            f"{self.folder}: {free / 1e9:.3g} GB free, and a checkpoint takes {needed / 1e9:.3g} GB: "
            "the next save will fail unless room is made"
        ]

    def read_meta(self) -> Meta:
        """The meta of the latest checkpoint."""
        values = dict(self._restore(meta=ocp.args.JsonRestore()).meta)
        found = values.pop("format", None)
        if found != FORMAT:
            raise InputError(f"{self.folder}: found format {found!r}, expected {FORMAT!r}")
        values.pop("position")  # equals the step, which the state carries
        return Meta.from_json(values, where=str(self.folder))

    def restore(self, abstract_state: TrainState) -> TrainState:
        """The latest state, in the shapes and shardings of `abstract_state`."""
        wanted = abstract_state._asdict()
        places = ocp.checkpoint_utils.construct_restore_args(wanted)
        args = ocp.args.PyTreeRestore(wanted, restore_args=places)
        return TrainState(**self._restore(state=args).state)

    def restore_weights(self, name: str, shapes: Any) -> Any:
        """`params` or `ema` alone as numpy arrays in the tree of `shapes`, whatever mesh they were trained on."""
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        args = ocp.args.PyTreeRestore(
            {name: shapes}, restore_args={name: as_numpy}, partial_restore=True
        )
        return self._restore(state=args).state[name]

    def _restore(self, **items: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(self.latest, args=ocp.args.Composite(**items))
        except Exception as error:  # of no narrower kind, and a page long
            raise InputError(
                f"{self.folder / str(self.latest)}: cannot be restored "
                f"({textwrap.shorten(str(error), 200)}); without it the run goes on from the one before"
            ) from error

    def close(self) -> None:
        """Waits for a save that is under way, and for its manifest."""
        with self._named(self.latest):
            self._manager.wait_until_finished()
            self._finish_sealing()
        self._manager.close()
        self._sealer.shutdown()
        self._quiet.end()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _seal(self, checkpoint: Path) -> None:
        while self._manager.is_saving_in_progress():
            time.sleep(POLL)
        if checkpoint.is_dir():  # or the save has failed, which the manager tells its own thread
            seal(checkpoint)
            self._size = measure_size(checkpoint)

    def _finish_sealing(self) -> None:
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()

    @contextlib.contextmanager
    def _named(self, step: int | None) -> Iterator[None]:
        """What goes wrong with a save, such as on a full disk, as one line; what was saved before is whole."""
        self._quiet.begin()
        try:
            yield
            self._quiet.end()
        except (OSError, ValueError) as error:
            there = [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]
            raise InputError(
                f"{self.folder / str(step)}: cannot be saved ({_find_reason(error)}); "
                f"the last checkpoint is that of step {max(there, default=None)}"
            ) from error


def start_state(
    checkpoints: Checkpoints,
    meta: Meta,
    training: TrainingConfig,
    shapes: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    initialize: Callable[[], Any],
    read_base: Callable[[], Any] | None = None,
) -> TrainState:
    """The state a run starts from: its own latest checkpoint, else `training.init_from`, else random.

    Args:
        checkpoints: of the run. meta: of the run. shapes: abstract parameters. mesh: where it will live.
        initialize: makes random parameters of those shapes; traced, so that each is made where it will live.
        read_base: reads them from the published weights that `training.init_from` names, sharded as they will live;
            None where it names weights of ours.

    Raises:
        InputError: the checkpoint or the weights belong to another model, codec or encoder; the checkpoint is later
            than the last step of the run.
    """
    abstract = jax.eval_shape(lambda params: init_state(params, optimizer), shapes)
    shardings = state_sharding(abstract, mesh)
    if checkpoints.latest is not None:
        if checkpoints.latest > training.steps:
            raise InputError(
                f"training.steps: found {training.steps}, expected at least {checkpoints.latest}, the step that "
                f"{checkpoints.folder} has come to"
            )
        before = checkpoints.read_meta()
        before.check_same(str(checkpoints.folder), meta)
        print(f"{checkpoints.folder}: going on from step {checkpoints.latest}")
        for change in before.list_changes(meta):
            print(f"changed since: {change}")
        return checkpoints.restore(_with_sharding(abstract, shardings))
    origin = training.init_from
    if read_base is not None:
        params = read_base()
        print(f"starting from {origin} (published weights)")
        return jax.jit(lambda p: init_state(p, optimizer), out_shardings=shardings)(params)
    if origin:
        read_meta(Path(origin)).check_same(origin, meta, starting=True)
        params = read_weights(Path(origin), shapes, which=training.init_weights)
        print(f"starting from {describe_origin(Path(origin), which=training.init_weights)}")
        params = place_tree(params, shardings.params)
        return jax.jit(lambda p: init_state(p, optimizer), out_shardings=shardings)(params)
    return jax.jit(lambda: init_state(initialize(), optimizer), out_shardings=shardings)()


def read_meta(origin: Path) -> Meta:
    """The meta of a weights file or of a run's latest checkpoint."""
    return Checkpoints(origin).read_meta() if origin.is_dir() else read_weights_meta(origin)


def read_weights(origin: Path, shapes: Any, *, which: str) -> Any:
    """Parameters from a safetensors file or from the latest checkpoint of a run.

    Args:
        origin: file or work folder. shapes: abstract parameters. which: "ema" or "params", of a folder.
    """
    if origin.is_dir():
        return Checkpoints(origin).restore_weights(which, shapes)
    return load_weights(origin, shapes)


def describe_origin(origin: Path, *, which: str) -> str:
    """Which weights `read_weights` reads: of a folder the run's name, EMA or not, and the step."""
    config = read_meta(origin).config
    made = f"{config.name}, context {config.training.context}"
    if not origin.is_dir():
        return f"{origin} ({made})"
    return f"{origin} ({made}, {which} of step {Checkpoints(origin).latest})"


def _find_reason(error: Exception) -> str:
    """What the system says, which TensorStore puts at the end of a page; else the beginning of that."""
    said = (os.strerror(number) for number in REFUSALS)
    return next((text for text in said if text in str(error)), textwrap.shorten(str(error), 200))


def _lock(path: Path) -> IO[str]:
    """An open file, locked for as long as it is open: until the process ends, in whatever way."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"{path.parent}: another process is training into this folder") from None
    return file


def _with_sharding(abstract: TrainState, shardings: TrainState) -> TrainState:
    place = lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s)
    return jax.tree.map(place, abstract, shardings)
