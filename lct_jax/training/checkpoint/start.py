"""Where a run starts from: its own latest checkpoint, weights that the config names, or random parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from lct_jax.config import TrainingConfig
from lct_jax.distributed.sharding import place_tree, state_sharding
from lct_jax.errors import InputError
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.weights import Meta, load_weights, read_weights_meta
from lct_jax.training.state import TrainState, init_state


def start_state(
    checkpoints: Checkpoints,
    meta: Meta,
    training: TrainingConfig,
    shapes: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    initialize: Callable[[], Any],
) -> TrainState:
    """Returns the state that a run starts from: its own latest checkpoint, else `training.init_from`, else random.

    Args:
        checkpoints: the run's checkpoints.
        meta: the run's meta.
        shapes: abstract parameters.
        mesh: the mesh on which the state is placed.
        initialize: makes random parameters of those shapes; it is traced, so that each is made where it will be placed.

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
        return checkpoints.restore(_with_sharding(abstract, shardings))
    origin = training.init_from
    if origin:
        read_meta(Path(origin)).check_same(origin, meta, starting=True)
        params = read_weights(Path(origin), shapes, which=training.init_weights)
        print(f"starting from {describe_origin(Path(origin), which=training.init_weights)}")
        params = place_tree(params, shardings.params)
        return jax.jit(lambda p: init_state(p, optimizer), out_shardings=shardings)(params)
    return jax.jit(lambda: init_state(initialize(), optimizer), out_shardings=shardings)()


def read_meta(origin: Path) -> Meta:
    """Returns the meta of a weights file or of a run's latest checkpoint."""
    return Checkpoints(origin).read_meta() if origin.is_dir() else read_weights_meta(origin)


def read_weights(origin: Path, shapes: Any, *, which: str) -> Any:
    """Returns parameters from a safetensors file or from the latest checkpoint of a run.

    Args:
        origin: a file or a work folder.
        shapes: abstract parameters.
        which: "ema" or "params", for a folder.
    """
    if origin.is_dir():
        return Checkpoints(origin).restore_weights(which, shapes)
    return load_weights(origin, shapes)


def describe_origin(origin: Path, *, which: str) -> str:
    """Returns a line about what `read_weights` reads: of a folder the run's name, EMA or not, and the step."""
    config = read_meta(origin).config
    made = f"{config.name}, context {config.training.context}"
    if not origin.is_dir():
        return f"{origin} ({made})"
    return f"{origin} ({made}, {which} of step {Checkpoints(origin).latest})"


def _with_sharding(abstract: TrainState, shardings: TrainState) -> TrainState:
    place = lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s)
    return jax.tree.map(place, abstract, shardings)
