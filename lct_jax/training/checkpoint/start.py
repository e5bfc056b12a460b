"""Where a run starts from: its own latest checkpoint, weights that the config names, or random parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from lct_jax.config import TrainingConfig
from lct_jax.distributed.sharding import state_sharding, with_sharding
from lct_jax.errors import InputError
from lct_jax.files import hash_file
from lct_jax.tensors import check_tensors, name_leaves
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.integrity import identify
from lct_jax.training.checkpoint.weights import Meta, load_weights, read_weights_meta
from lct_jax.training.state import TrainState, init_state


class TrainedWeights:
    """Weights in a safetensors file, or in the checkpoint of a run that was the latest one when this was made.

    Args:
        path: of the file, or the work folder of the run.
        which: "ema" or "params", of a run.

    Attributes:
        meta: of the weights.
        step: of the checkpoint; None for a file.

    Raises:
        InputError: there is no such file or checkpoint, or it is damaged.
    """

    def __init__(self, path: str | Path, *, which: str = "ema") -> None:
        self.path, self.which = Path(path), which
        self._checkpoints = Checkpoints(path) if self.path.is_dir() else None
        if self._checkpoints is None:
            self.meta: Meta = read_weights_meta(self.path)
            self.step: int | None = None
        else:
            self.meta, self.step = self._checkpoints.read_meta(), self._checkpoints.latest

    def check(self, shapes: Any) -> None:
        """Raises InputError unless a file has the tensors of `shapes`; those of a run are checked as they are read."""
        if self._checkpoints is None:
            check_tensors(self.path, shapes={n: x.shape for n, x in name_leaves(shapes).items()})

    def read(self, shapes: Any) -> Any:
        """Returns the parameters in the tree of `shapes`, tensor by tensor.

        Args:
            shapes: abstract parameters. A leaf that has a sharding is made there, of what devices of this process hold;
                one that has none is read whole, as a numpy array.

        Raises:
            InputError: missing or unexpected tensors, wrong shapes, or the checkpoint is no longer there.
        """
        if self._checkpoints is None:
            return load_weights(self.path, shapes)
        return self._checkpoints.restore_weights(self.which, shapes)

    def identify(self) -> str:
        """Returns a hash by which these weights are told from any others."""
        if self._checkpoints is None:
            return hash_file(self.path)
        digest = identify(self._checkpoints.folder / str(self.step))
        return hashlib.sha256(f"{self.which} of {digest}".encode()).hexdigest()

    def describe(self) -> str:
        """Returns where the weights come from: of a folder the run's name, EMA or not, and the step."""
        config = self.meta.config
        made = f"{config.name}, context {config.training.context}"
        if self._checkpoints is None:
            return f"{self.path} ({made})"
        return f"{self.path} ({made}, {self.which} of step {self.step})"


def start_state(
    checkpoints: Checkpoints,
    meta: Meta,
    training: TrainingConfig,
    shapes: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    initialize: Callable[[], Any],
    read: Callable[[Any], Any] | None,
) -> TrainState:
    """Returns the state that a run starts from: its own latest checkpoint, else what `read` reads, else random.

    Args:
        checkpoints: the run's checkpoints.
        meta: the run's meta.
        shapes: abstract parameters, those that are trained.
        mesh: the mesh on which the state is placed.
        initialize: makes random parameters of those shapes; it is traced, so that each is made where it will be placed.
        read: reads parameters from their shapes, which have shardings; None starts from random ones.

    Raises:
        InputError: the checkpoint belongs to another model, codec, encoder or optimiser, or is later than the last step
            of the run; or what is read is damaged.
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
        _check_optimizer(before, training, checkpoints.folder)
        print(f"{checkpoints.folder}: going on from step {checkpoints.latest}")
        for change in filter(None, (*before.list_changes(meta), checkpoints.find_other_versions())):
            print(f"changed since: {change}")
        return checkpoints.restore(with_sharding(abstract, mesh))
    if read is None:
        return jax.jit(lambda: init_state(initialize(), optimizer), out_shardings=shardings)()
    params = read(with_sharding(shapes, mesh))
    return jax.jit(lambda p: init_state(p, optimizer), out_shardings=shardings)(params)


def _check_optimizer(before: Meta, training: TrainingConfig, folder: Path) -> None:
    """Raises InputError where a run would go on with another optimiser, whose state its checkpoint does not have."""
    made = before.config.training.optimizer
    if training.optimizer != made:
        raise InputError(
            f"training.optimizer: found {training.optimizer!r}, expected {made!r}, whose moments {folder} has; a new "
            "run may start from its weights with training.init_from"
        )
