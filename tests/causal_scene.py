"""A tiny scene for causal sampling: mixed sizes and text lengths, a given image, both text branches of their own length."""

from __future__ import annotations

import functools

import jax
import numpy as np
from scenes import TINY, TinyModel

from lct_jax.config import ModelConfig, SamplingConfig
from lct_jax.layout import Spans
from lct_jax.model.served import Served
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.request import Prompt, SceneRequest, ShotRequest, Ties
from lct_jax.sampling.window import Job

GRIDS = ((1, 2, 3), (2, 2, 1), (1, 1, 4), (1, 3, 2))
CONFIG = SamplingConfig(steps=4, guidance=3.0, window=5, history_shots=4, condition_time=0.1)
TIMES = time_grid(4, 1.0)


def make_prompt(rng: np.random.Generator, text: int, negative: int) -> Prompt:
    """Random tokens of two lengths."""
    draw = lambda length: rng.normal(size=(length, TINY.text_width)).astype(np.float32)  # noqa: E731
    return Prompt(text=draw(text), negative=draw(negative))


def make_request(
    shots: int,
    *,
    given: tuple[int, ...] = (),
    ties: dict[int, Ties] | None = None,
    alike: bool = False,
    bare: bool = False,
) -> SceneRequest:
    """Shots of four sizes in turn, or `alike` all of one; `bare` has no global prompt."""
    rng = np.random.default_rng(shots)
    requests = []
    for number in range(shots):
        grid = GRIDS[0 if alike else number % len(GRIDS)]
        clean = rng.normal(size=(np.prod(grid), TINY.patch_channels)).astype(np.float32)
        requests.append(
            ShotRequest(
                prompt=make_prompt(rng, 1 + number % 5, 2),
                grid=grid,
                given=clean if number in given else None,
                ties=(ties or {}).get(number, Ties()),
            )
        )
    prompt = None if bare else make_prompt(rng, 5, 3)
    return SceneRequest(prompt=prompt, shots=tuple(requests), channels=TINY.patch_channels)


def make_job(request: SceneRequest, config: SamplingConfig = CONFIG) -> Job:
    """A scene with its noise."""
    spans = Spans(TINY.scene_span, TINY.shot_span)
    return Job(request, config, spans=spans, key=jax.random.key(0))


@functools.cache
def serve(config: ModelConfig = TINY) -> Served:
    """The tiny model with random weights everywhere and causal context; its programs are shared."""
    model = TinyModel(config)
    return Served(model.graph, model.params, config=config, context="causal")
