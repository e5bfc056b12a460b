"""The modes of `sample.py`, each a schedule of windows and an executor that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lct_jax.config import SamplingConfig
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.passes import Executor, FullPass
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.schedule import Window, plan_autoregressive, plan_causal, plan_joint
from lct_jax.sampling.window import SamplingScene


@dataclass(frozen=True)
class Mode:
    """How a scene is sampled.

    Attributes:
        plan: returns the windows of a request, by config.
        execute: returns the executor of a plan, from (backbone, scene, plan, times).
        causal: whether it needs a model that was tuned with causal context.
    """

    plan: Callable[[SceneRequest, SamplingConfig], tuple[Window, ...]]
    execute: Callable[[Any, SamplingScene, Sequence[Window], np.ndarray], Executor]
    causal: bool


def _make_full_pass(
    backbone: Any, scene: SamplingScene, plan: Sequence[Window], times: np.ndarray
) -> FullPass:
    # Windows are independent of each other.
    del plan
    return FullPass(backbone.forward, scene, times)


MODES = {
    "joint": Mode(plan_joint, _make_full_pass, causal=False),
    "autoregressive": Mode(plan_autoregressive, _make_full_pass, causal=False),
    "causal": Mode(plan_causal, CachedPass, causal=True),
}
