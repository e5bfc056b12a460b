"""Muon for the matrices of the blocks, and AdamW for the rest."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scenes import TINY
from test_weights import META, draw_params, make_shapes
from tiny_film import CONFIG

from lct_jax.backbones.mmdit.names import decays
from lct_jax.config import LoraConfig, TrainingConfig
from lct_jax.distributed.sharding import make_mesh, state_sharding
from lct_jax.errors import InputError
from lct_jax.plan.links import Shards
from lct_jax.plan.parameters import place_parameters
from lct_jax.tensors import name_leaves
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import start_state
from lct_jax.training.optimizer import UPDATE_RMS, make_optimizer
from lct_jax.training.state import init_state

RATE = 0.5
# Without warm-up, clipping and decay, the first update has the whole rate.
ADAMW = TrainingConfig(steps=10, warmup=0, learning_rate=RATE, clip=1e9, weight_decay=0.0)
MUON = dataclasses.replace(ADAMW, optimizer="muon")
SHAPES = make_shapes(TINY)
MATRICES = [
    f"blocks.{stream}.{layer}.kernel"
    for stream in ("video", "text")
    for layer in ("qkv", "out", "up", "down")
]


def update(training: TrainingConfig, gradient: Any, params: Any) -> dict[str, np.ndarray]:
    """Returns the first update of every parameter by its name."""
    optimizer = make_optimizer(training, decays=decays)
    first = jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0])
    return {name: np.asarray(leaf) for name, leaf in name_leaves(first(gradient, params)).items()}


@pytest.fixture(scope="module")
def params() -> Any:
    return draw_params(SHAPES)


@pytest.fixture(scope="module")
def gradient(params) -> Any:
    return jax.tree.map(lambda leaf: np.roll(leaf, 1) * 1e-3, params)


@pytest.fixture(scope="module")
def found(params, gradient) -> dict[str, np.ndarray]:
    return update(MUON, gradient, params)


@pytest.mark.parametrize("name", MATRICES)
def test_muon_moves_every_direction_of_a_matrix_alike(name, found, gradient):
    """The update of a block is the gradient with its singular values made one, as far as five iterations come."""
    whole = name_leaves(gradient)[name]
    for given, moved in zip(whole, found[name], strict=True):
        left, _, right = np.linalg.svd(given, full_matrices=False)
        size = RATE * UPDATE_RMS * max(given.shape) ** 0.5
        along = -left.T @ moved @ right.T / size
        values = np.diag(along)
        # The polynomial of Muon leaves singular values between 0.68 and 1.13 [Jordan 2024], small ones below.
        assert np.median(values) == pytest.approx(0.9, abs=0.25)
        assert values.max() < 1.3 and values.min() > 0
        np.testing.assert_allclose(along - np.diag(values), 0, atol=0.02)


def test_what_is_no_matrix_of_a_block_is_updated_as_by_adamw(found, params, gradient):
    wanted = update(ADAMW, gradient, params)
    assert set(MATRICES) < set(found)
    for name in found:
        same = np.array_equal(found[name], wanted[name])
        assert same == (name not in MATRICES), name


def test_weight_decay_applies_to_the_same_parameters_with_both(found, params, gradient):
    shrunk = update(dataclasses.replace(MUON, weight_decay=0.25), gradient, params)
    for name, leaf in name_leaves(params).items():
        share = RATE * 0.25 if decays(tuple(name.split("."))) else 0.0
        np.testing.assert_allclose(shrunk[name], found[name] - share * leaf, atol=1e-6)


def test_muon_on_eight_devices_equals_one(found, params, gradient):
    mesh = make_mesh()
    with jax.set_mesh(mesh):
        place = lambda tree: jax.device_put(tree, state_sharding(tree, mesh))
        spread = update(MUON, place(gradient), place(params))
    for name, leaf in found.items():
        # Updates are of the order of the rate; sums over devices are rounded in another order, ten products deep.
        np.testing.assert_allclose(spread[name], leaf, atol=2e-5 * RATE, err_msg=name)


def test_a_plan_counts_one_moment_of_a_matrix_that_muon_takes():
    both = place_parameters(TINY, Shards(1, 1))
    one = place_parameters(TINY, Shards(1, 1), optimizer="muon")
    spared = 4 * sum(leaf.size for n, leaf in name_leaves(SHAPES).items() if n in MATRICES)
    assert both.optimiser - one.optimiser == pytest.approx(spared, abs=100)
    assert (both.params, both.ema) == (one.params, one.ema)


def start(folder: Path, training: TrainingConfig) -> Any:
    """Returns the state that a run in a folder starts from."""
    meta = dataclasses.replace(META, config=dataclasses.replace(CONFIG, training=training))
    return start_state(
        Checkpoints(folder),
        meta,
        training,
        make_shapes(CONFIG.network),
        make_optimizer(training, decays=decays),
        make_mesh(),
        initialize=pytest.fail,
        read=None,
    )


def test_a_run_goes_on_with_the_optimiser_that_it_began_with(tmp_path):
    training = dataclasses.replace(CONFIG.training, optimizer="muon")
    optimizer = make_optimizer(training, decays=decays)
    params = draw_params(make_shapes(CONFIG.network))
    state = jax.jit(partial(init_state, optimizer=optimizer))(params)
    _, moments = jax.jit(optimizer.update)(params, state.opt_state, params)
    state = state._replace(opt_state=moments)
    checkpoints = Checkpoints(tmp_path, keep=1)
    meta = dataclasses.replace(META, config=dataclasses.replace(CONFIG, training=training))
    checkpoints.save(state, meta)
    checkpoints.close()

    again = start(tmp_path, training)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    with pytest.raises(InputError) as caught:
        start(tmp_path, CONFIG.training)
    assert str(caught.value).startswith(
        "training.optimizer: found 'adamw', expected 'muon', whose "
    )


def test_muon_is_refused_for_a_lora():
    training = dataclasses.replace(CONFIG.training, optimizer="muon")
    with pytest.raises(InputError, match=r"training.optimizer: found 'muon' with lora.rank 4, exp"):
        dataclasses.replace(CONFIG, training=training, lora=LoraConfig(rank=4))
