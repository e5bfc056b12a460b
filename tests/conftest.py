"""Eight simulated CPU devices, strict ranks, and what tests share: a tiny model and one that is overfit.

The flags must be set before JAX starts, so they are set here before any import of it.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile for seconds and run for milliseconds: unoptimised code halves their time.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()

import jax
import pytest
from overfitting import Overfit, overfit_scene
from scenes import TINY, TinyModel

from lct_jax.distributed.sharding import make_mesh

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def tiny() -> TinyModel:
    """Returns the tiny float32 model with random weights everywhere; its compiled forward pass is shared."""
    return TinyModel(TINY)


@pytest.fixture(scope="session")
def overfit() -> Overfit:
    """Returns a tiny model trained on one scene of three shots, with the losses before and after."""
    return overfit_scene()


@pytest.fixture(scope="session")
def mesh() -> jax.sharding.Mesh:
    """Returns a mesh of four devices over rows times two over tokens."""
    return make_mesh(seq=2)
