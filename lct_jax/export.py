"""Writes the weights of a run as one safetensors file.

    python -m lct_jax.export --checkpoint=WORKDIR --out=FILE.safetensors [--weights=ema|params] [--dtype=float16]

The file carries the run's config and identities, so `train.py` (training.init_from) and `sample.py` take it in place of
a run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lct_jax.backbones.registry import build_abstract
from lct_jax.cli import define_path, run
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.weights import save_weights

CHECKPOINT = define_path("checkpoint", "Folder of a run.", required=True)
OUT = define_path("out", "File to write.", required=True)
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights.")
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "How to store them.")


def main(argv: Sequence[str]) -> None:
    del argv
    checkpoints = Checkpoints(CHECKPOINT.value)
    meta = checkpoints.read_meta()
    shapes = build_abstract(meta.config.network).params
    params = checkpoints.restore_weights(WEIGHTS.value, shapes)
    save_weights(Path(OUT.value), params, meta, dtype=DTYPE.value)
    print(f"{OUT.value}: {WEIGHTS.value} of step {checkpoints.latest}")


if __name__ == "__main__":
    run(main)
