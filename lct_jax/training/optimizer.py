"""The optimiser: AdamW, or Muon for the matrices of the blocks, with warm-up, cosine decay and clipping."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from lct_jax.config import TrainingConfig

# Root mean square of a Muon update: about that of AdamW's, so that one learning rate suits both [arXiv 2502.16982].
UPDATE_RMS = 0.2
# A function that says whether weight decay applies to the parameter at a path.
Decays = Callable[[tuple[str, ...]], bool]


def make_optimizer(config: TrainingConfig, *, decays: Decays) -> optax.GradientTransformation:
    """Returns an optimiser with warm-up, cosine decay and clipping [LCT supplement A.1; warm-up and clipping are ours].

    Args:
        config: which optimiser, its rates, betas and decay.
        decays: whether weight decay applies to the parameter at a path (`Family.decays`).
    """
    adamw = optax.adamw(
        _make_schedule(config, config.learning_rate),
        b1=config.beta1,
        b2=config.beta2,
        weight_decay=config.weight_decay,
        mask=partial(mark_decayed, decays=decays),
    )
    rule = _add_muon(adamw, config, decays) if config.optimizer == "muon" else adamw
    return optax.chain(optax.clip_by_global_norm(config.clip), rule)


def _make_schedule(config: TrainingConfig, rate: float) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=rate,
        warmup_steps=config.warmup,
        decay_steps=config.steps,
    )


def _add_muon(
    adamw: optax.GradientTransformation, config: TrainingConfig, decays: Decays
) -> optax.GradientTransformation:
    """Returns Muon for the matrices of the blocks, and `adamw` for every other parameter."""
    axes = partial(find_matrices, decays=decays)
    rule = muon(
        _make_schedule(config, config.muon_learning_rate or config.learning_rate),
        beta=config.beta2,
        weight_decay=config.weight_decay,
        muon_weight_dimension_numbers=axes,
        consistent_rms=UPDATE_RMS,
    )

    def label(params: Any) -> Any:
        name = lambda _, found: "adamw" if found is None else "muon"
        return jax.tree.map(name, params, axes(params))

    return optax.partition({"muon": rule, "adamw": adamw}, label)


def find_matrices(params: Any, decays: Decays) -> Any:
    """Returns a tree like `params` with the axes of every matrix that Muon takes, and None for what AdamW takes.

    Muon takes what decays within the blocks. Blocks are stacked along a leading axis, and each is orthogonalised alone.
    """

    def find(path: tuple[str, ...], leaf: jax.Array) -> MuonDimensionNumbers | None:
        inside = path[0] == "blocks" and leaf.ndim == 3
        return MuonDimensionNumbers(1, 2) if inside and decays(path) else None

    return _map_paths(find, params)


def mark_decayed(params: Any, decays: Decays) -> Any:
    """Returns a tree like `params` that says to which leaves weight decay applies."""
    return _map_paths(lambda path, _: decays(path), params)


def _map_paths(function: Callable[[tuple[str, ...], jax.Array], Any], params: Any) -> Any:
    """Returns `function` of the names from the root, and the leaf, for every leaf of a tree."""
    name = lambda path: tuple(str(getattr(part, "key", part)) for part in path)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(name(path), leaf), params)
