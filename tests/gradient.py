"""References for a gradient: the slope of the dense float64 loss, and another gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from reference import scene_loss
from scenes import SLOTS, Scene, TinyModel, to_reference

from lct_jax import flow
from lct_jax.config import NetworkConfig, TrainingConfig
from lct_jax.training.checkpoint.weights import name_leaves
from lct_jax.training.step import Part, find_gradient
from lct_jax.types import PackedBatch

STEP = 1e-5  # of a difference quotient in float64


class Gradient(NamedTuple):
    """The loss of a batch as means over its samples, its derivatives by parameter, and its parts."""

    loss: jax.Array
    tree: Any
    breakdown: flow.Breakdown


def compile_gradient(model: TinyModel, training: TrainingConfig) -> Any:
    """Returns (params, batch, added) -> `Gradient`, compiled."""

    def compute(params: Any, batch: PackedBatch, added: flow.Draw) -> Gradient:
        weight_BL, samples = flow.loss_weights(batch.video.index, SLOTS), flow.count_samples(batch)
        part = Part(batch, added, weight_BL)
        tree, error_BL = find_gradient(model.graph, params, None, part, training, samples=samples)
        breakdown = flow.break_down(error_BL, weight_BL, batch.video.index, added.time)
        return Gradient((weight_BL * error_BL).sum() / samples, tree, breakdown)

    return jax.jit(compute)


def check_against_dense(
    found: tuple[jax.Array, Any], model: TinyModel, scenes: Sequence[Scene], config: NetworkConfig
) -> None:
    """Compares the mean loss over scenes, and its slope in a random direction, with those of the dense reference."""
    loss, gradient = found
    rng = np.random.default_rng(5)
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    direction = {name: rng.normal(size=array.shape) for name, array in weights.items()}

    def reference(step: float) -> float:
        moved = {name: array + step * direction[name] for name, array in weights.items()}
        return np.mean([scene_loss(moved, config, to_reference(s), "full") for s in scenes])

    np.testing.assert_allclose(loss, reference(0.0), rtol=1e-5)
    slope = (reference(STEP) - reference(-STEP)) / (2 * STEP)
    along = sum(np.vdot(direction[name], leaf) for name, leaf in name_leaves(gradient).items())
    np.testing.assert_allclose(along, slope, rtol=1e-4)


def check_same(found: tuple[jax.Array, Any], expected: tuple[jax.Array, Any]) -> None:
    """Checks that loss and gradient agree to 1e-5 of the largest value of each parameter's gradient."""
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    leaves, wanted = name_leaves(found[1]), name_leaves(expected[1])
    assert leaves.keys() == wanted.keys()
    for name, leaf in wanted.items():
        largest = np.abs(leaf).max()
        np.testing.assert_allclose(leaves[name], leaf, rtol=0, atol=1e-5 * largest, err_msg=name)


def check_near(found: Any, expected: Any) -> None:
    """Gradients agree to 1e-5 of each parameter's largest value, or of a thousandth of the largest of all.

    Some parameters hardly matter, such as biases of keys: what they have is rounding of larger numbers.
    """
    leaves, wanted = name_leaves(found), name_leaves(expected)
    assert leaves.keys() == wanted.keys()
    largest = max(np.abs(leaf).max() for leaf in wanted.values())
    for name, leaf in wanted.items():
        atol = 1e-5 * max(np.abs(leaf).max(), 1e-3 * largest)
        np.testing.assert_allclose(leaves[name], leaf, rtol=0, atol=atol, err_msg=name)
