"""The weights below a run: what it starts from, or what its LoRA lies on; how they are found, told apart and read.

A base is published weights, or weights or a run of ours. A run's checkpoints store where it was and a hash of it, and
of a LoRA run nothing else of it: it is read again to go on, to sample and to export. `train.py`, the front door and
`lct_jax.export` use it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lct_jax.backbones.load import check_backbone, is_published, load_published
from lct_jax.backbones.lora import (
    concatenate,
    fill_low_rank,
    find_low_rank,
    list_ranks,
    merge_low_rank,
)
from lct_jax.backbones.pipeline import check_weights
from lct_jax.backbones.registry import build_abstract
from lct_jax.config import LoraConfig, NetworkConfig
from lct_jax.errors import InputError
from lct_jax.loras import identify_lora, read_lora, read_trained
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import Base, Meta
from lct_jax.training.state import merge_params, split_params

Read = Callable[[Any], Any]


class RunBase(NamedTuple):
    """What a run begins with.

    Attributes:
        base: the weights below it, for its meta.
        read_trained: reads what is trained from shapes; None for random parameters, and where a run goes on.
        read_frozen: reads what is not trained.
    """

    base: Base
    read_trained: Read | None
    read_frozen: Read


class OpenedWeights(NamedTuple):
    """Trained weights of a whole network, not yet read.

    Attributes:
        meta: of the weights.
        read: reads the parameters, those of a LoRA included, in the tree of shapes as `TrainedWeights.read` does.
        step: of the run's checkpoint; None for a file.
        identify: returns a hash by which the weights are told from any others. It reads files alone, so that one
            process of many may call it.
    """

    meta: Meta
    read: Read
    step: int | None
    identify: Callable[[], str]


def find_base(meta: Meta, checkpoints: Checkpoints) -> RunBase:
    """Returns what a run begins with, from `training.init_from` and `lora.merged`, and prints where that is.

    Args:
        meta: the run's, whose base is not yet known. checkpoints: the run's; where there are any, it goes on from them.

    Raises:
        InputError: there is no such base, it has another backbone or LoRA, or it is not the one that the run's
            checkpoints were trained on.
    """
    config = meta.config
    if checkpoints.latest is not None:
        base = _find_again(meta, checkpoints)
        return RunBase(base, None, lambda shapes: _read(base, config.network, shapes))
    if not config.training.init_from:
        for field, found in (("rank", config.lora.rank), ("merged", config.lora.merged)):
            if found:
                raise InputError(
                    f"training.init_from: missing, expected the base of lora.{field} {found!r}"
                )
        return RunBase(Base(), None, lambda _: None)
    base, origin, continued = _find_origin(meta)
    print(f"starting from {origin}")
    read = lambda shapes: _read(base, config.network, shapes)
    if not config.lora.rank:
        return RunBase(base, read, read)
    if continued is None:
        return RunBase(base, None, read)
    return RunBase(base, lambda shapes: read_trained(continued, shapes), read)


def open_weights(
    path: str | Path, *, which: str = "ema", base: str | Path | None = None
) -> OpenedWeights:
    """Returns the weights of a run or of a file; those of a LoRA run with the base that it lies on.

    Args:
        path: of the run or of the file. which: "ema" or "params", of a run.
        base: where the base of a LoRA run is now; None takes the place that the run stored.

    Raises:
        InputError: there are no such weights, or the base is not the one that the LoRA was trained on.
    """
    trained = TrainedWeights(path, which=which)
    meta = trained.meta
    network = meta.config.network
    if not network.lora.rank:
        if base is not None:
            raise InputError(f"--base: found {base}, expected none: {path} has all its weights")
        trained.check(build_abstract(network).params)
        return OpenedWeights(meta, trained.read, trained.step, trained.identify)
    below = _locate(meta.base, network, at=base)
    if below.identity != meta.base.identity:
        raise InputError(_describe_other(below, meta.base, str(path)))

    def read(shapes: Any) -> Any:
        parts = split_params(shapes)
        low_rank = read_trained(trained, parts.trained)
        return merge_params(low_rank, _read(below, network, parts.frozen))

    return OpenedWeights(meta, read, trained.step, trained.identify)


def stack_loras(weights: OpenedWeights, loras: Sequence[str]) -> OpenedWeights:
    """Returns weights on which LoRAs lie, none of them merged: with what a LoRA run trained they are one of more rank.

    Args:
        weights: of any network. loras: files or runs, each as PATH or as PATH:WEIGHT.

    Raises:
        InputError: one of them is not there, is no LoRA, or is one of another network.
    """
    if not loras:
        return weights
    network = weights.meta.config.network
    added = concatenate([read_lora(lora, network) for lora in loras])
    own = split_params(build_abstract(network).params).trained if network.lora.rank else None
    ranks = Counter({layer: pair.a.shape[-1] for layer, pair in added.items()})
    ranks.update(list_ranks(own))
    base_dtype = network.lora.base_dtype if network.lora.rank else network.compute.dtype
    lora = LoraConfig(rank=max(ranks.values()), targets=tuple(sorted(ranks)), base_dtype=base_dtype)

    def read(shapes: Any) -> Any:
        parts = split_params(shapes)
        if not network.lora.rank:
            return merge_params(fill_low_rank(parts.trained, added), weights.read(parts.frozen))
        found = split_params(weights.read(merge_params(own, parts.frozen)))
        matrices = concatenate([find_low_rank(found.trained, network.lora), added])
        return merge_params(fill_low_rank(parts.trained, matrices), found.frozen)

    def identify() -> str:
        digests = [weights.identify(), *map(identify_lora, loras)]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    meta = dataclasses.replace(
        weights.meta, config=dataclasses.replace(weights.meta.config, lora=lora)
    )
    return OpenedWeights(meta, read, weights.step, identify)


def _find_origin(meta: Meta) -> tuple[Base, str, TrainedWeights | None]:
    """Returns the base that a new run names, a text about it, and the weights of a LoRA that it continues."""
    config, path = meta.config, meta.config.training.init_from
    network, which = config.network, config.training.init_weights
    merged = config.lora.merged
    if is_published(path):
        base = Base(path, which, merged)
        return _locate(base, network), f"{path} (published weights)", None
    weights = TrainedWeights(path, which=which)
    weights.meta.check_same(path, meta, starting=True)
    lora = weights.meta.config.lora
    if not lora.rank:
        return _locate(Base(path, which, merged), network), weights.describe(), None
    below = weights.meta.base
    origin = f"{weights.describe()}, a LoRA on {below.path}"
    if _locate(below, network).identity != below.identity:
        raise InputError(_describe_other(_locate(below, network), below, path))
    if not config.lora.rank:
        # All weights are trained from here on, so that the LoRA becomes a part of them.
        merged = (path, *merged)
    else:
        _check_continued(meta, weights.meta, path)
    base = dataclasses.replace(below, merged=(*below.merged, *merged))
    return _locate(base, network), origin, weights if config.lora.rank else None


def _find_again(meta: Meta, checkpoints: Checkpoints) -> Base:
    """Returns the base of a run that goes on: that of a LoRA where it is now, otherwise the one that was stored."""
    saved, config = checkpoints.read_meta().base, meta.config
    named = bool(config.training.init_from) and Path(config.training.init_from).exists()
    if not config.lora.rank:
        if named and saved.identity:
            _report_other(meta, saved)
        return saved
    found = _find_origin(meta)[0] if named else _locate(saved, config.network)
    if found.identity != saved.identity:
        raise InputError(_describe_other(found, saved, str(checkpoints.folder)))
    return found


def _report_other(meta: Meta, saved: Base) -> None:
    """Prints a line where a run that has its own weights by now started from others than are there today."""
    with contextlib.suppress(InputError):  # nothing of the base is needed any more
        found = _find_origin(meta)[0]
        if found.identity != saved.identity:
            print(
                f"changed since: {found.path} has the hash {found.identity[:12]} instead of {saved.identity[:12]}; "
                "the run goes on from its own weights"
            )


def _check_continued(meta: Meta, before: Meta, path: str) -> None:
    """Raises InputError unless a LoRA has the shape and scale of the one that it continues."""
    for field in ("rank", "alpha", "targets", "base_dtype"):
        found, made = (getattr(m.config.lora, field) for m in (meta, before))
        if found != made:
            raise InputError(
                f"lora.{field}: found {found!r}, expected {made!r} of {path}, which is continued; another LoRA on top "
                f"of it has {path} in lora.merged, and its base {before.base.path} in training.init_from"
            )


def _locate(base: Base, network: NetworkConfig, *, at: str | Path | None = None) -> Base:
    """Returns a base with the identity that it has now, perhaps at another place."""
    path = base.path if at is None else str(at)
    digests = [_identify(path, base.which, network), *(identify_lora(m) for m in base.merged)]
    whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return dataclasses.replace(base, path=path, identity=whole)


def _identify(path: str, which: str, network: NetworkConfig) -> str:
    if is_published(path):
        check_backbone(path, network.backbone)
        return check_weights(path, network)
    return TrainedWeights(path, which=which).identify()


def _describe_other(found: Base, expected: Base, run: str) -> str:
    return (
        f"{found.path}: is not the base that {run} was trained on: found the hash {found.identity[:12]}, "
        f"expected {expected.identity[:12]}"
    )


def _read(base: Base, network: NetworkConfig, shapes: Any) -> Any:
    """Returns the parameters of a base in the tree of `shapes`; None where nothing is to be read."""
    if shapes is None:
        return None
    if is_published(base.path):
        params = load_published(base.path, network, shapes)
    else:
        params = TrainedWeights(base.path, which=base.which).read(shapes)
    for path in base.merged:
        params = merge_low_rank(params, read_lora(path, network))
    return params
