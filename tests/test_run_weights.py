"""Weights of a run: which are read, onto which mesh, and which runs are refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_weights import META, SHAPES, check_same, draw_params, make_shapes
from tiny_film import CONFIG, run_program, shared_run

from lct_jax.backbones.mmdit.names import decays
from lct_jax.config.network import change
from lct_jax.distributed.sharding import make_mesh, state_sharding, with_sharding
from lct_jax.errors import InputError
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import (
    load_weights,
    read_weights_meta,
)
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state


@pytest.fixture(scope="module")
def params() -> Any:
    return draw_params(SHAPES)


def test_a_failed_save_names_its_step_and_the_last_checkpoint(params, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    state = init_state(params, make_optimizer(CONFIG.training, decays=decays))
    checkpoints.save(state._replace(step=jnp.int32(3)), META)

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", refuse)
    with pytest.raises(InputError, match=r"checkpoints/4: cannot be saved .*No space.* of step 3$"):
        checkpoints.save(state._replace(step=jnp.int32(4)), META)
    checkpoints.close()
    assert Checkpoints(tmp_path).latest == 3


@pytest.mark.programs
def test_ema_or_parameters_of_a_run_are_read():
    run = shared_run()
    meta = TrainedWeights(run).meta
    assert meta.config == CONFIG
    assert (meta.fps, meta.credit) == (12.0, "Tiny by us, CC0")
    ema, last = (TrainedWeights(run, which=which).read(SHAPES) for which in ("ema", "params"))
    for tree in (ema, last):
        assert jax.tree.structure(tree) == jax.tree.structure(SHAPES)
        assert {type(leaf) for leaf in jax.tree.leaves(tree)} == {np.ndarray}
    shift = np.abs(ema["video_in"]["kernel"][...] - last["video_in"]["kernel"][...])
    assert 0 < shift.max() < 0.1  # of a run of eight steps at 1e-2


@pytest.mark.programs
@pytest.mark.parametrize("which", ["ema", "params"])
def test_a_run_is_restored_into_a_mesh_bit_for_bit(which, mesh):
    trained = TrainedWeights(shared_run(), which=which)
    placed = trained.read(with_sharding(SHAPES, mesh))
    assert jax.tree.map(lambda x: x.sharding, placed) == state_sharding(SHAPES, mesh)
    check_same(placed, trained.read(SHAPES))


def test_a_run_with_parameters_of_other_shapes_is_refused(params, mesh, tmp_path):
    """The config says which shapes a checkpoint has; another one beside it is of another program."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(init_state(params, make_optimizer(CONFIG.training, decays=decays)), META)
    checkpoints.close()
    trained = TrainedWeights(tmp_path)
    for network in (change(CONFIG.network, text_width=24), change(CONFIG.network, qk_norm="all")):
        with pytest.raises(InputError, match=r"checkpoints/0: cannot be restored") as caught:
            trained.read(with_sharding(make_shapes(network), mesh))
        assert "\n" not in str(caught.value)


@pytest.mark.programs
def test_weights_trained_on_eight_devices_are_exported_on_one(params, tmp_path):
    optimizer = make_optimizer(CONFIG.training, decays=decays)
    state = init_state(jax.tree.map(jnp.asarray, params), optimizer)
    state = state._replace(step=jnp.asarray(7, jnp.int32))
    state = jax.device_put(state, state_sharding(state, make_mesh()))
    assert len(state.params["time"]["video"]["kernel"][...].sharding.device_set) == 8
    checkpoints = Checkpoints(tmp_path / "run", keep=1)
    checkpoints.save(state, META)
    checkpoints.close()
    out = tmp_path / "w.safetensors"
    result = run_program("-m", "lct_jax.export", f"--checkpoint={tmp_path / 'run'}", f"--out={out}")
    assert (result.code, result.stderr) == (0, "")
    check_same(load_weights(out, SHAPES), params)
    assert read_weights_meta(out) == META


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        TrainedWeights(tmp_path)
    assert (
        str(caught.value) == f"{tmp_path}/checkpoints: not found, expected the checkpoints of a run"
    )
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="no complete checkpoint, expected at least one"):
        TrainedWeights(tmp_path)


def test_a_checkpoint_without_its_meta_is_refused(params, tmp_path):
    """It is refused without a manifest too, as earlier checkpoints are."""
    state = init_state(
        jax.tree.map(jnp.asarray, params), make_optimizer(CONFIG.training, decays=decays)
    )
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(state, META)
    checkpoints.close()
    (tmp_path / "checkpoints/0/meta/metadata").write_text("{")
    with pytest.raises(InputError, match="found no whole checkpoint"):
        TrainedWeights(tmp_path)
    (tmp_path / "checkpoints/0/manifest.json").unlink()
    with pytest.raises(InputError) as caught:
        TrainedWeights(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/checkpoints/0: cannot be restored (")
