"""The optimiser: AdamW with warm-up, cosine decay and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from lct_jax.config import TrainingConfig


def make_optimizer(
    config: TrainingConfig, *, decays: Callable[[tuple[str, ...]], bool]
) -> optax.GradientTransformation:
    """Returns AdamW with warm-up, cosine decay and clipping [LCT supplement A.1; warm-up and clipping are ours].

    Args:
        config: rates, betas and decay.
        decays: whether weight decay applies to the parameter at a path (`Family.decays`).
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=config.steps,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule,
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=lambda params: mark_decayed(params, decays),
        ),
    )


def mark_decayed(params: Any, decays: Callable[[tuple[str, ...]], bool]) -> Any:
    """Returns a tree like `params` that says to which leaves weight decay applies."""

    def mark(path: tuple[Any, ...], _: jax.Array) -> bool:
        return decays(tuple(str(getattr(part, "key", part)) for part in path))

    return jax.tree_util.tree_map_with_path(mark, params)
