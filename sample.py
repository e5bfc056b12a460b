"""Samples a scene from a script, and writes an mp4 a shot, the scene cut together, and a storyboard.

    python sample.py --checkpoint=DIR --script=FILE --mode=joint|autoregressive|causal --out=DIR [--guidance=3 ...]

`--checkpoint` is a run's folder, weights saved by lct_jax.export with `--codec=FILE` beside them, or the folder of a
published base. `--encoder=FOLDER` names the text encoder where it is no longer in the folder that the set was prepared
with; its weights are freed before those of the network are read, and `--texts=FILE` of lct_jax.encode_texts does
without them. Every field of the run's sampling config is a flag. The same seed gives the same latents. `--mode=causal`
samples shot after shot with cached keys and values, from weights tuned with causal context.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from absl import flags
from tqdm import tqdm

import lct_jax
from lct_jax.cli import define_path, define_sampling, run
from lct_jax.distributed.process_spec import define_process_flags
from lct_jax.distributed.run_distributed import run_distributed
from lct_jax.sampling.modes import MODES
from lct_jax.startup import define_compilation_cache, use_compilation_cache

CHECKPOINT = define_path("checkpoint", "Run folder, weights or published base.", required=True)
define_process_flags()
CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
ENCODER = define_path("encoder", "Folder of the text encoder, where it was moved after training.")
TEXTS = define_path("texts", "File of encoded texts, in place of the encoder.")
BASE = define_path("base", "Base of a LoRA run, where it was moved after training.")
SCRIPT = define_path("script", "Script of the scene (YAML or JSON).", required=True)
MODE = flags.DEFINE_enum(
    "mode", None, sorted(MODES), "How shots are denoised; default: as the script says, or joint."
)
OUT = define_path("out", "Folder to write to.", required=True)
define_compilation_cache()
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights of a run.")
SETTINGS = define_sampling()


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    generator = lct_jax.load(
        CHECKPOINT.value,
        codec=CODEC.value,
        encoder=ENCODER.value,
        texts=TEXTS.value,
        weights=WEIGHTS.value,
        base=BASE.value,
    )
    # What does not fit is said before a bar is drawn; shots are sampled as they are saved.
    scene = generator.sample(
        SCRIPT.value, mode=MODE.value, on_step=lambda: bar.update(), **SETTINGS()
    )
    hidden = jax.process_index() > 0
    with tqdm(desc=scene.mode, unit="step", total=scene.steps, disable=hidden) as bar:
        paths = scene.save(OUT.value)
    for path in paths:
        print(path)


if __name__ == "__main__":
    run(run_distributed(main))
