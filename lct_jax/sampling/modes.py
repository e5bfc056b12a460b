"""The modes of `sample.py`: a plan, and what runs it."""

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
        plan: request and config to windows. execute: (backbone, scene, plan, times) to what runs them.
        causal: whether it needs a model that was tuned with causal context.
    """

    plan: Callable[[SceneRequest, SamplingConfig], tuple[Window, ...]]
    execute: Callable[[Any, SamplingScene, Sequence[Window], np.ndarray], Executor]
    causal: bool


def _together(
    backbone: Any, scene: SamplingScene, plan: Sequence[Window], times: np.ndarray
) -> FullPass:
    del plan  # nothing is kept from one window to the next
    return FullPass(backbone.forward, scene, times)


MODES = {
    "joint": Mode(plan_joint, _together, causal=False),
    "autoregressive": Mode(plan_autoregressive, _together, causal=False),
    "causal": Mode(plan_causal, CachedPass, causal=True),
}
