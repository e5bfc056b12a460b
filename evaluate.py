r"""Samples scenes in every way that the paper compares, and measures what they show: a table, a JSON and a page.

    python evaluate.py --checkpoint=TUNED --scenes=PATH --out=DIR [--base=BEFORE] [--causal=CAUSAL]

`--checkpoint` is a run's folder, or weights saved by lct_jax.export with `--codec=FILE` beside them; `--base` are those
before tuning, `--causal` those tuned with causal context and `--in_context` those tuned on pictures of panels, which
have rows of their own. `--scenes` is a scene file, of which the held-out scenes are taken, a script, or a folder of
scripts (lct_jax/evaluation/scenes.py). Every field of the run's sampling config is a flag. What each measure is stands
below its table and in docs/evaluation.md.

A scene that is sampled is in `DIR/samples` and is not sampled again, so the same command goes on where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

import lct_jax
from lct_jax.cli import define_path, define_sampling, run
from lct_jax.data.hold_out import find_common
from lct_jax.errors import make_folder
from lct_jax.evaluation.features.protocol import load_features
from lct_jax.evaluation.judges.protocol import load_judge
from lct_jax.evaluation.measure_row import FilmedShots, load_instruments, measure_row
from lct_jax.evaluation.report import describe_notes, write_report
from lct_jax.evaluation.rows import FILMED, choose_rows
from lct_jax.evaluation.sample_row import RowSampler, choose_pictures
from lct_jax.evaluation.samples import SampledShots, see_shots
from lct_jax.evaluation.scenes import load_scenes
from lct_jax.sampling.encode_script import list_texts
from lct_jax.startup import define_compilation_cache, use_compilation_cache

WEIGHTS = {
    "checkpoint": define_path("checkpoint", "Run folder or weights.", required=True),
    "base": define_path("base", "Run folder or weights before tuning on scenes."),
    "causal": define_path("causal", "Run folder or weights tuned with causal context."),
    "in_context": define_path("in_context", "Run folder or weights tuned on pictures of panels."),
}
CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
ENCODER = define_path("encoder", "Folder of the text encoder, where it was moved after training.")
SCENES = define_path("scenes", "Scene file, script, or folder of scripts.", required=True)
SPLIT = flags.DEFINE_enum("split", "held_out", ["held_out", "train"], "Of a scene file.")
COUNT = flags.DEFINE_integer("count", None, "The first scenes alone; default: all.", lower_bound=1)
SHOTS = flags.DEFINE_integer("shots", None, "The first shots of a scene alone.", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 1, "How often each scene is sampled.", lower_bound=1)
ROWS = flags.DEFINE_string("rows", "all", "Rows of the table, separated by commas.")
FEATURES = flags.DEFINE_string("features", "efficientnet", "File in lct_jax/evaluation/features/.")
JUDGES = flags.DEFINE_list("judges", [], "Files in lct_jax/evaluation/judges/, by commas.")
MEASURING = define_path("weights", "Of networks that measure, such as clip/; default: OUT/weights.")
OUT = define_path("out", "Folder of samples and results.", required=True)
SETTINGS = define_sampling()
define_compilation_cache()


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    out = Path(OUT.value)
    make_folder(out)

    # ---- what is sampled, and what measures it ---------------------------------------------------
    paths = {name: flag.value for name, flag in WEIGHTS.items() if flag.value is not None}
    rows = choose_rows(ROWS.value, weights=paths)
    generators = {}
    for name in dict.fromkeys(flag for row in rows.values() for flag in row.flags):
        generators[name] = lct_jax.load(paths[name], codec=CODEC.value, encoder=ENCODER.value)
        # One text encoder is in memory at a time, and none beside a network.
        generators[name].free_encoder()
    first = next(iter(generators.values()))
    pictures = choose_pictures(first, SETTINGS())
    names = find_common(generator.config.data for generator in generators.values())
    loaded = load_scenes(Path(SCENES.value), pictures, split=SPLIT.value, hold_out=names)
    scenes = [scene.begin(SHOTS.value) for scene in loaded[: COUNT.value]]
    for generator in generators.values():
        sampling = dataclasses.replace(generator.config.sampling, **SETTINGS())
        generator.encoder.encode(
            [t for scene in scenes for t in list_texts(scene.script, sampling)]
        )
        generator.free_encoder()
    measuring = Path(MEASURING.value or out / "weights")
    features = load_features(FEATURES.value, folder=measuring)
    judges = [load_judge(name, folder=out) for name in JUDGES.value]
    instruments = load_instruments(features, first.config.footage, folder=measuring, judges=judges)

    # ---- the film itself, where there is one -----------------------------------------------------
    filmed = [SampledShots(s.id, 0, s.script, s.filmed) for s in scenes if s.filmed]
    seen = {shots.scene: see_shots(shots.frames, features) for shots in filmed}
    results = {FILMED: measure_row(filmed, instruments, FilmedShots({}))} if filmed else {}

    # ---- every row: sampled, then measured -------------------------------------------------------
    # Single shots before and after tuning have the same words: those of the tuned model's training.
    told = not generators.get("checkpoint", first).config.data.singles_from_scenes
    boards: dict[str, dict[str, str]] = {scene.id: {} for scene in scenes}
    made = {}
    for name, row in rows.items():
        sampler = RowSampler(
            generators[row.weights],
            row,
            SETTINGS(),
            told=told,
            animator=generators.get(row.animator),
        )
        samples = []
        for scene in tqdm(scenes, desc=row.title, unit="scene"):
            for number in range(SEEDS.value):
                folder = Path("samples", name, f"{scene.id}.{number}")
                samples.append(sampler.sample(scene, number, out / folder))
            boards[scene.id][row.title] = str(
                Path("samples", name, f"{scene.id}.0", "storyboard.png")
            )
        results[row.title] = measure_row(samples, instruments, FilmedShots(seen))
        made[row.title] = sampler.made

    notes = describe_notes(instruments, seen, scenes=len(scenes), seeds=SEEDS.value)
    print(write_report(out, results, notes, boards=boards, made=made))


if __name__ == "__main__":
    run(main)
