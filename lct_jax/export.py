"""Writes the weights of a run as one safetensors file, or as a folder that other libraries load.

    python -m lct_jax.export --checkpoint=WORKDIR --out=FILE.safetensors [--weights=ema|params] [--dtype=float16]
    python -m lct_jax.export --checkpoint=WORKDIR --out=FOLDER --layout=diffusers [--dtype=bfloat16]

The file carries the run's config and identities, so `train.py` (training.init_from) and `sample.py` take it in place of
a run's folder. The folder has the names and shapes in which the family's weights are published (docs/bases.md), and
`train.py` takes it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lct_jax.backbones.load import find_published, save_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.cli import define_path, run
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.weights import save_weights

CHECKPOINT = define_path("checkpoint", "Folder of a run.", required=True)
OUT = define_path("out", "File or folder to write.", required=True)
LAYOUT = flags.DEFINE_enum("layout", "ours", ["ours", "diffusers"], "A file of ours, or a folder.")
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights.")
DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16", "float16"], "How to store them."
)


def main(argv: Sequence[str]) -> None:
    del argv
    checkpoints = Checkpoints(CHECKPOINT.value)
    meta = checkpoints.read_meta()
    network = meta.config.network
    if LAYOUT.value == "diffusers":
        find_published(network)  # before anything is read
    params = checkpoints.restore_weights(WEIGHTS.value, build_abstract(network).params)
    if LAYOUT.value == "diffusers":
        save_published(OUT.value, params, network, dtype=DTYPE.value)
    else:
        save_weights(Path(OUT.value), params, meta, dtype=DTYPE.value)
    print(f"{OUT.value}: {WEIGHTS.value} of step {checkpoints.latest}")


if __name__ == "__main__":
    run(main)
