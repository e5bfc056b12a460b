"""A tiny model overfits one scene: the loss falls, and sampling returns the scene."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from lct_jax.config import SamplingConfig
from lct_jax.layout import patchify, unpatchify
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.passes import FullPass, sample_scene
from lct_jax.sampling.request import Prompt, SceneRequest, ShotRequest
from lct_jax.sampling.schedule import plan_joint
from lct_jax.sampling.window import SamplingScene

# A model is trained for it.
pytestmark = pytest.mark.slow

SAMPLING = SamplingConfig(steps=16, guidance=1.0, frames=5, height=16, width=16)


def test_the_loss_falls_at_least_fivefold_at_every_time(overfit):
    assert (overfit.after < overfit.before / 5).all(), (overfit.before, overfit.after)


def test_joint_sampling_of_an_overfit_model_gives_its_scene(overfit):
    """Each shot is nearer to its clip than 0.3 of the distance between the clips."""
    request = _make_request(overfit)
    network = nnx.merge(overfit.graph, overfit.params)
    forward = Partial(lambda *x: network(*x, context="full").velocity)
    scene = SamplingScene(
        request, SAMPLING, layout=overfit.config.layout, keeps_text=True, key=jax.random.key(3)
    )
    executor = FullPass(forward, scene, time_grid(SAMPLING.steps, 1.0))
    shots = list(sample_scene(executor, scene, plan_joint(request, SAMPLING)))
    apart = np.mean([_distance(*pair) for pair in itertools.combinations(overfit.clean, 2)])
    for shot in shots:
        grid = request.shots[shot.number].grid
        found = unpatchify(shot.tokens, grid, overfit.config.backbone.patch)
        assert _distance(found, overfit.clean[shot.number]) <= 0.3 * apart
    assert [shot.number for shot in shots] == [0, 1, 2]


def _make_request(overfit) -> SceneRequest:
    first, *prompts = (Prompt(text=text, negative=text) for text in overfit.prompts)
    shots = [
        ShotRequest(p, group.grid) for p, group in zip(prompts, overfit.plan.shots, strict=True)
    ]
    channels = patchify(overfit.clean[0], overfit.config.backbone.patch).shape[1]
    return SceneRequest(prompt=first, shots=tuple(shots), channels=channels)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the root mean square difference over the corner that both grids have."""
    corner = tuple(map(slice, np.minimum(one.shape, other.shape)))
    return float(np.sqrt(np.mean((one[corner] - other[corner]) ** 2)))
