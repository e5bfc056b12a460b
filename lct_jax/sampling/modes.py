"""The modes of `sample.py`, each a schedule of windows and an executor that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lct_jax.config import SamplingConfig
from lct_jax.directing.arrange import add_key_frames, add_panels, add_references
from lct_jax.directing.script import Script
from lct_jax.sampling.baselines import ReferencePass, SharedPass
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.passes import Executor, FullPass
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.schedule import (
    Window,
    plan_apart,
    plan_autoregressive,
    plan_causal,
    plan_joint,
    plan_key_frames,
    plan_references,
)
from lct_jax.sampling.window import SamplingScene


@dataclass(frozen=True)
class Mode:
    """How a scene is sampled.

    Attributes:
        plan: returns the windows of a request, by config.
        execute: returns the executor of a plan, from (backbone, scene, plan, times).
        causal: whether it needs a model that was tuned with causal context.
        arrange: returns the script that is sampled in place of one: with pictures behind its own shots.
    """

    plan: Callable[[SceneRequest, SamplingConfig], tuple[Window, ...]]
    execute: Callable[[Any, SamplingScene, Sequence[Window], np.ndarray], Executor]
    causal: bool = False
    arrange: Callable[[Script], Script] = lambda script: script


# Windows of all modes but the causal one are independent of each other.
def _make_full_pass(
    backbone: Any, scene: SamplingScene, plan: Sequence[Window], times: np.ndarray
) -> FullPass:
    del plan
    return FullPass(backbone.forward, scene, times)


def _make_reference_pass(
    backbone: Any, scene: SamplingScene, plan: Sequence[Window], times: np.ndarray
) -> ReferencePass:
    del plan
    return ReferencePass(backbone, scene, times)


def _make_shared_pass(
    backbone: Any, scene: SamplingScene, plan: Sequence[Window], times: np.ndarray
) -> SharedPass:
    del plan
    return SharedPass(backbone, scene, times)


MODES = {
    "joint": Mode(plan_joint, _make_full_pass),
    "autoregressive": Mode(plan_autoregressive, _make_full_pass),
    "causal": Mode(plan_causal, CachedPass, causal=True),
    # The systems that the paper compares itself with (docs/baselines.md).
    "references": Mode(plan_references, _make_reference_pass, arrange=add_references),
    "shared_attention": Mode(plan_key_frames, _make_shared_pass, arrange=add_key_frames),
    "in_context": Mode(plan_apart, _make_full_pass, arrange=add_panels),
    "image_to_video": Mode(plan_apart, _make_full_pass, arrange=add_key_frames),
}
