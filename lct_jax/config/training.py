"""The optimiser and the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lct_jax.config.compute import Context
from lct_jax.config.fields import Count, NonNegativeFloat, Positive, PositiveFloat, Share, settings
from lct_jax.errors import InputError


@settings("training")
class TrainingConfig:
    """The optimiser and the loop [S: A.1], with warm-up, clipping and EMA warm-up as [D].

    Attributes:
        steps: of the whole run. warmup: steps of linear warm-up before the cosine decay.
        learning_rate, beta1, beta2, weight_decay: AdamW. clip: of the global gradient norm.
        ema: decay, warmed up as min(ema, (1 + step) / (10 + step)).
        accumulate: micro-batches a step; divides data.rows.
        seed: of initialisation, time and noise. context: attention over shots.
        init_from: safetensors or checkpoint folder to start from, or a folder of weights that others published
            (docs/bases.md); "" starts from random weights.
        init_weights: which weights of a checkpoint folder to start from.
        spike: a loss so many times the mean of recent ones is one: its update is not made, as with one that is not a
            number [D]. most_skipped: updates not made in a row at which the run stops [D].
        log_every, eval_every, save_every: in steps. keep: checkpoints kept.
        eval_batches: batches of held-out scenes; 0 switches evaluation off.
        eval_times: diffusion times at which the validation loss is taken.
    """

    steps: Positive = 135_000
    warmup: Count = 1_000
    learning_rate: PositiveFloat = 1e-4
    beta1: PositiveFloat = 0.9
    beta2: PositiveFloat = 0.95
    weight_decay: NonNegativeFloat = 0.1
    clip: PositiveFloat = 1.0
    ema: Annotated[Share, Field(gt=0)] = 0.996
    accumulate: Positive = 1
    seed: Count = 0
    context: Context = "full"
    init_from: str = ""
    init_weights: Literal["ema", "params"] = "ema"
    spike: PositiveFloat = 5.0
    most_skipped: Positive = 20
    log_every: Positive = 10
    eval_every: Positive = 1_000
    save_every: Positive = 1_000
    keep: Positive = 2
    eval_batches: Count = 2
    eval_times: Annotated[tuple[Annotated[Share, Field(gt=0)], ...], Field(min_length=1)] = (
        *(0.1, 0.3, 0.5, 0.7, 0.9),
    )

    def __post_init__(self) -> None:
        if self.warmup >= self.steps:
            raise InputError(
                f"training.warmup: found {self.warmup}, expected fewer than training.steps {self.steps}"
            )
