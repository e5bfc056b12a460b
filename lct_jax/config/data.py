"""Which samples are drawn, and the rows they are packed into."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lct_jax.config.fields import Count, Positive, Share, settings


@settings("data")
class DataConfig:
    """Which samples are drawn and how they are packed [S: A.1].

    Attributes:
        rows: packed rows of a global batch. video_tokens, text_tokens: budget of a row.
        groups: S, group slots of a row (a scene of n shots takes n + 1).
        max_shots: longest run of consecutive shots drawn from a scene.
        single_weight: share of single-shot samples in the mix, and so in the loss (flow.py) [S: 1 to 1].
        frame_probability: chance that a shot becomes one of its own frames.
        drop_story: chance that the global prompt is written without its story [D: 0.3].
        drop_text: chance that all text of a sample is the empty prompt [D: 0.1].
        pool: batches that are packed together; more fills rows better. seed: of the plan.
        workers: reader processes (0: threads of this process). prefetch: batches held ready.
    """

    rows: Positive = 8
    video_tokens: Positive = 1024
    text_tokens: Positive = 512
    groups: Annotated[int, Field(ge=2)] = 10
    max_shots: Positive = 9
    single_weight: Share = 0.5
    frame_probability: Share = 0.1
    drop_story: Share = 0.3
    drop_text: Share = 0.1
    pool: Positive = 8
    seed: Count = 0
    workers: Count = 0
    prefetch: Positive = 4
