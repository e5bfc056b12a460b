"""Says how the optimiser and the training loop work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lct_jax.config.compute import Context
from lct_jax.config.fields import Count, NonNegativeFloat, Positive, PositiveFloat, Share, settings
from lct_jax.errors import InputError
from lct_jax.paths import LocalPath


@settings("training")
class TrainingConfig:
    """Says how the optimiser and the loop work [S: A.1]; warm-up, clipping and EMA warm-up are [D].

    Attributes:
        steps: the steps of the whole run. warmup: the steps of linear warm-up before the cosine decay.
        optimizer: "adamw", or "muon", which takes the matrices of the blocks and leaves the rest to AdamW.
        learning_rate, beta1, beta2, weight_decay: those of AdamW; Muon has the same decay, and beta2 is its momentum.
        muon_learning_rate: that of Muon; 0 takes learning_rate. clip: the limit of the global gradient norm.
        ema: the decay of the EMA, warmed up as min(ema, (1 + step) / (10 + step)).
        accumulate: the number of micro-batches in a step; it divides data.rows. With compute.remat="auto" it is the
            least number: more are taken where that spares memory without which attention would be computed again.
        seed: the seed of initialisation, time and noise. context: the attention over shots.
        init_from: safetensors or checkpoint folder to start from, or a folder of weights that others published
            (docs/bases.md); "" starts from random weights.
        init_weights: which weights of a checkpoint folder to start from.
        spike: a loss that exceeds the mean of recent ones this many times is a spike: its update is skipped, as if it
            were not a number [D]. most_skipped: the number of consecutive skipped updates at which the run stops [D].
        log_every, eval_every, save_every: intervals in steps. keep: the number of checkpoints kept.
        eval_batches: the number of batches of held-out scenes; 0 switches evaluation off.
        eval_times: the diffusion times at which the validation loss is measured.
    """

    steps: Positive = 135_000
    warmup: Count = 1_000
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: PositiveFloat = 1e-4
    muon_learning_rate: NonNegativeFloat = 0.0
    beta1: PositiveFloat = 0.9
    beta2: PositiveFloat = 0.95
    weight_decay: NonNegativeFloat = 0.1
    clip: PositiveFloat = 1.0
    ema: Annotated[Share, Field(gt=0)] = 0.996
    accumulate: Positive = 1
    seed: Count = 0
    context: Context = "full"
    init_from: LocalPath = ""
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
        if self.muon_learning_rate and self.optimizer != "muon":
            raise InputError(
                f"training.muon_learning_rate: found {self.muon_learning_rate:g}, expected 0 without "
                "training.optimizer 'muon'"
            )
