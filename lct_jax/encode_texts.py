"""Encodes the texts of scripts beforehand, so that a machine that samples needs no text encoder.

    python -m lct_jax.encode_texts --checkpoint=DIR --script=FILE [--script=FILE ...] --out=texts.safetensors
    python sample.py --checkpoint=DIR --script=FILE --texts=texts.safetensors --out=OUT

`--checkpoint` is what `sample.py` takes; only its config is read, and of a published base config.json alone has to be
there. The file holds the tokens of all prompts and of the negative ones, and which encoder made them. With `--mode`
they are those of another mode of `sample.py` (docs/baselines.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lct_jax.cli import define_path, run
from lct_jax.directing.script import load_script
from lct_jax.encoders.text_file import save_texts
from lct_jax.model_files import open_encoder, read_model_config
from lct_jax.paths import local_path
from lct_jax.sampling.encode_script import choose_settings, list_texts
from lct_jax.sampling.modes import MODES, choose_mode
from lct_jax.startup import define_compilation_cache, use_compilation_cache

CHECKPOINT = define_path("checkpoint", "Run folder, weights or published base.", required=True)
ENCODER = define_path("encoder", "Folder of the text encoder, where it was moved after training.")
SCRIPTS = flags.DEFINE_multi_string("script", None, "Scripts (YAML or JSON).", required=True)
MODE = flags.DEFINE_enum("mode", None, sorted(MODES), "Of sample.py, where its prompts are others.")
OUT = define_path("out", "File to write.", required=True)
NEGATIVE_SCENE = flags.DEFINE_string("negative_scene", None, "sampling.negative_scene of the run")
NEGATIVE_SHOT = flags.DEFINE_string("negative_shot", None, "sampling.negative_shot of the run")
define_compilation_cache()


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    config = read_model_config(CHECKPOINT.value)
    chosen = {"negative_scene": NEGATIVE_SCENE.value, "negative_shot": NEGATIVE_SHOT.value}
    flags_given = {name: text for name, text in chosen.items() if text is not None}
    scripts = [load_script(local_path(path, "--script")) for path in SCRIPTS.value]
    texts = [
        text
        for script in scripts
        for text in list_texts(
            MODES[choose_mode(script, MODE.value)].arrange(script),
            choose_settings(script, config.sampling, flags_given),
        )
    ]
    encoder = open_encoder(config, encoder=ENCODER.value)
    count = save_texts(Path(OUT.value), encoder, texts)
    print(f"{OUT.value}: {count} texts, encoded by {encoder.identity}")


if __name__ == "__main__":
    run(main)
