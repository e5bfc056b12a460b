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


def choose_mode(script: Script, mode: str | None, *, usual: str = "joint") -> str:
    """Returns the mode that is asked for, or else the script's own, or else the usual one."""
    return mode or script.sampler.get("mode", usual)


def _apart(
    make: Callable[[Any, SamplingScene, np.ndarray], Executor],
) -> Callable[[Any, SamplingScene, Sequence[Window], np.ndarray], Executor]:
    """Returns `Mode.execute` of a pass whose windows are independent of each other, so that it needs no plan."""
    return lambda backbone, scene, plan, times: make(backbone, scene, times)


_make_full_pass = _apart(lambda backbone, *rest: FullPass(backbone.forward, *rest))

MODES = {
    "joint": Mode(plan_joint, _make_full_pass),
    "autoregressive": Mode(plan_autoregressive, _make_full_pass),
    "causal": Mode(plan_causal, CachedPass, causal=True),
    # The systems that the paper compares itself with (docs/baselines.md).
    "references": Mode(plan_references, _apart(ReferencePass), arrange=add_references),
    "shared_attention": Mode(plan_key_frames, _apart(SharedPass), arrange=add_key_frames),
    "in_context": Mode(plan_apart, _make_full_pass, arrange=add_panels),
    "image_to_video": Mode(plan_apart, _make_full_pass, arrange=add_key_frames),
}
