"""Where a run starts from: its own latest checkpoint, weights that the config names, or random parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from lct_jax.config import TrainingConfig
from lct_jax.distributed.sharding import state_sharding, with_sharding
from lct_jax.errors import InputError
from lct_jax.tensors import check_tensors, name_leaves
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.weights import Meta, load_weights, read_weights_meta
from lct_jax.training.state import TrainState, init_state


class TrainedWeights:
    """Weights in a safetensors file, or in the checkpoint of a run that was the latest one when this was made.

    Args:
        path: of the file, or the work folder of the run.
        which: "ema" or "params", of a run.

    Attributes:
        meta: of the weights.

    Raises:
        InputError: there is no such file or checkpoint, or it is damaged.
    """

    def __init__(self, path: str | Path, *, which: str = "ema") -> None:
        self.path, self.which = Path(path), which
        self._checkpoints = Checkpoints(path) if self.path.is_dir() else None
        if self._checkpoints is None:
            self.meta: Meta = read_weights_meta(self.path)
        else:
            self.meta = self._checkpoints.read_meta()

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

    def describe(self) -> str:
        """Returns where the weights come from: of a folder the run's name, EMA or not, and the step."""
        config = self.meta.config
        made = f"{config.name}, context {config.training.context}"
        if self._checkpoints is None:
            return f"{self.path} ({made})"
        return f"{self.path} ({made}, {self.which} of step {self._checkpoints.latest})"


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
    """Returns the state that a run starts from: its own latest checkpoint, else `training.init_from`, else random.

    Args:
        checkpoints: the run's checkpoints.
        meta: the run's meta.
        shapes: abstract parameters.
        mesh: the mesh on which the state is placed.
        initialize: makes random parameters of those shapes; it is traced, so that each is made where it will be placed.
        read_base: reads them from the published weights that `training.init_from` names, sharded as they will be
            placed; None if it names weights of ours.

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
        for change in filter(None, (*before.list_changes(meta), checkpoints.find_other_versions())):
            print(f"changed since: {change}")
        return checkpoints.restore(with_sharding(abstract, mesh))
    if not training.init_from:
        return jax.jit(lambda: init_state(initialize(), optimizer), out_shardings=shardings)()
    if read_base is not None:
        params, origin = read_base(), f"{training.init_from} (published weights)"
    else:
        weights = TrainedWeights(training.init_from, which=training.init_weights)
        weights.meta.check_same(training.init_from, meta, starting=True)
        params, origin = weights.read(with_sharding(shapes, mesh)), weights.describe()
    print(f"starting from {origin}")
    return jax.jit(lambda p: init_state(p, optimizer), out_shardings=shardings)(params)
