"""Says which samples are drawn, and how they are packed into rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lct_jax.config.fields import Count, Positive, Share, settings


@settings("data")
class DataConfig:
    """Says which samples are drawn and how they are packed [S: A.1].

    Attributes:
        rows: the packed rows of a global batch. video_tokens, text_tokens: the budget of a row. On a TPU long rows are
            best a multiple of 1,024 together, or of video alone where a network reads text beside it: the attention
            kernel copies others to fill them up.
        groups: S, group slots of a row (a scene of n shots takes n + 1).
        max_shots: the longest run of consecutive shots drawn from a scene.
        single_weight: the share of single-shot samples in the mix, and so in the loss (flow.py) [S: 1 to 1], unless
            `--data` states shares.
        singles_from_scenes: whether all shots of a set named without a role are drawn as single shots too, with
            prompts that may name people whom only their scene describes; else single-shot data alone gives them [S].
        hold_out: the names of scenes that are not trained on, besides those that the sets hold out. A name stands for
            every scene of that name, in whichever set.
        frame_probability: the chance that a shot of a scene becomes one of its own frames.
        drop_story: the chance that the global prompt is written without its story [D: 0.3].
        drop_text: the chance that all text of a sample is the empty prompt [D: 0.1].
        pool: the number of batches that are packed together; more fill rows better. seed: the seed of the plan.
        workers: the number of reader processes (0: threads of this process). prefetch: the batches read ahead.
    """

    rows: Positive = 8
    video_tokens: Positive = 1024
    text_tokens: Positive = 512
    groups: Annotated[int, Field(ge=2)] = 10
    max_shots: Positive = 9
    single_weight: Share = 0.5
    singles_from_scenes: bool = False
    hold_out: tuple[str, ...] = ()
    frame_probability: Share = 0.1
    drop_story: Share = 0.3
    drop_text: Share = 0.1
    pool: Positive = 8
    seed: Count = 0
    workers: Count = 0
    prefetch: Positive = 4
