"""Writes the weights of a run as one safetensors file, or as a folder that other libraries load.

    python -m lct_jax.export --checkpoint=WORKDIR --out=FILE.safetensors [--weights=ema|params] [--dtype=float16]
    python -m lct_jax.export --checkpoint=WORKDIR --out=FOLDER --layout=diffusers [--dtype=bfloat16]
    python -m lct_jax.export --checkpoint=WORKDIR --out=FILE.safetensors --layout=peft|kohya

The file carries the run's config and identities, so `train.py` (training.init_from) and `sample.py` take it in place of
a run's folder. The folder has the names and shapes in which the family's weights are published (docs/bases.md), and
`train.py` takes it as well. Of a LoRA run these two are the whole network, with the LoRA merged into its base.

"peft" and "kohya" are the LoRA alone. "peft" is for any family: diffusers loads it where the family's weights are
published, and our own families have the names of their parameters. It carries the run's config and identities too, so
that it is taken in place of the run beside its base; where it holds more than the run trained, what was merged into the
base or added, it does not. "kohya", as ComfyUI loads it, and "diffusers" are for published families. Each
`--add_lora=PATH[:WEIGHT]` is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lct_jax.backbones.load import save_published
from lct_jax.backbones.lora import concatenate, find_low_rank, merge_low_rank
from lct_jax.backbones.lora_files import save_low_rank
from lct_jax.backbones.registry import build_abstract, find_family
from lct_jax.base import OpenedWeights, open_weights, stack_loras
from lct_jax.cli import define_loras, define_path, run
from lct_jax.config import LoraConfig
from lct_jax.errors import InputError
from lct_jax.loras import read_lora, read_run
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import save_weights
from lct_jax.training.state import split_params

CHECKPOINT = define_path("checkpoint", "Folder of a run.", required=True)
OUT = define_path("out", "File or folder to write.", required=True)
BASE = define_path("base", "Base of a LoRA run, where it was moved after training.")
LORAS = define_loras()
LAYOUT = flags.DEFINE_enum(
    "layout",
    "ours",
    ["ours", "diffusers", "peft", "kohya"],
    "A file of ours, a folder, or the file of a LoRA alone.",
)
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights.")
DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16", "float16"], "How to store them."
)


def main(argv: Sequence[str]) -> None:
    del argv
    trained = TrainedWeights(CHECKPOINT.value, which=WEIGHTS.value)
    check_layout(trained)  # before anything is read
    if LAYOUT.value in ("peft", "kohya"):
        export_low_rank(trained)
    else:
        weights = open_weights(CHECKPOINT.value, which=WEIGHTS.value, base=BASE.value)
        export_whole(stack_loras(weights, LORAS.value))
    print(f"{OUT.value}: {WEIGHTS.value} of step {trained.step}")


def check_layout(trained: TrainedWeights) -> None:
    """Raises InputError for a layout of others where nobody else publishes weights of the run's family."""
    network = trained.meta.config.network
    if LAYOUT.value in ("diffusers", "kohya") and find_family(network).published is None:
        raise InputError(
            f"--layout: found {LAYOUT.value}, expected ours, or peft for a LoRA alone: nobody else publishes weights "
            f"of the family {network.backbone.family}"
        )


def export_low_rank(trained: TrainedWeights) -> None:
    """Writes the LoRA of a run, with its meta where the file holds that alone; its base need not be there."""
    if BASE.value is not None:
        raise InputError(f"--base: found {BASE.value}, expected none with --layout={LAYOUT.value}")
    meta, network = trained.meta, trained.meta.config.network
    own = read_run(CHECKPOINT.value, meta, which=WEIGHTS.value)
    matrices = concatenate([own, *(read_lora(text, network) for text in LORAS.value)])
    alone = not meta.base.merged and not LORAS.value
    save_low_rank(
        Path(OUT.value),
        matrices,
        network,
        keys=LAYOUT.value,
        dtype=DTYPE.value,
        header=meta.to_header() if alone else None,
    )


def export_whole(weights: OpenedWeights) -> None:
    """Writes a whole network, into whose base a LoRA is merged."""
    meta, config = weights.meta, weights.meta.config
    params = weights.read(build_abstract(config.network).params)
    if config.lora.rank:
        parts = split_params(params)
        matrices = find_low_rank(parts.trained, config.lora)
        params = merge_low_rank(parts.frozen, matrices, dtype="float32")
        config = dataclasses.replace(config, lora=LoraConfig())
    if LAYOUT.value == "diffusers":
        save_published(OUT.value, params, config.network, dtype=DTYPE.value)
    else:
        meta = dataclasses.replace(meta, config=config)
        save_weights(Path(OUT.value), params, meta, dtype=DTYPE.value)


if __name__ == "__main__":
    run(main)
