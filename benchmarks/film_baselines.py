r"""Compares LCT with the systems that the paper compares itself with, on held-out scenes of the film example.

`evaluate.py` samples and measures the rows (docs/baselines.md has the command); what it writes into `--samples` is
read here, and `keep` copies its numbers beside the weights.

    python -m benchmarks.film_baselines keep
    python -m benchmarks.film_baselines keep_seeds --samples=runs/film_seeds
    python -m benchmarks.film_baselines costs
    python -m benchmarks.film_baselines table
    python -m benchmarks.film_baselines picture --picture=docs/film_baselines.png

`keep_seeds` keeps how alike shots are with another seed, of an evaluation with several. `costs` counts the FLOPs of one
scene by every row. `table` prints the tables of docs/baselines.md, made from the files in `--out` alone. `picture`
draws one scene as filmed and by every row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image, PngImagePlugin

import lct_jax
from benchmarks.method_costs import count_windows, to_table
from benchmarks.puppets_picture import draw
from lct_jax.cli import run
from lct_jax.errors import InputError, make_folder
from lct_jax.evaluation.bootstrap import Estimate, estimate_difference
from lct_jax.evaluation.grid import read_scene
from lct_jax.evaluation.rows import BASELINES, ROWS, Row
from lct_jax.evaluation.sample_row import choose_pictures, speak_alone
from lct_jax.evaluation.scenes import EvaluatedScene, load_scenes
from lct_jax.files import replace_atomically
from lct_jax.generator import Generator
from lct_jax.media.page_text import wrap
from lct_jax.sampled_scene import SampledScene

FILM = Path("examples/big_buck_bunny")
RESULTS = FILM / "baselines"
CODEC = FILM / "film_vae.safetensors"
WEIGHTS = {
    "checkpoint": Path("runs/film_tiny"),
    "base": FILM / "film_tiny_base.safetensors",
    "causal": Path("runs/film_tiny_causal"),
    "in_context": RESULTS / "film_in_context.safetensors",
}
TASKS = "keep, keep_seeds, costs, picture or table"
# The first shots of a scene, as many as the network sees at once, and the steps of all rows.
SHOTS, STEPS = 5, 16
# Words on the picture: pixels of a letter, and of a line.
LETTER, LINE = 13, 850
# Rows of `evaluate.py` in the order of the tables, and how they are called there.
TITLES = {
    "filmed": "as filmed",
    "joint": "LCT, jointly",
    "autoregressive": "LCT, shot after shot",
    "causal": "LCT, causal with cache",
    "independent": "shots apart, tuned weights",
    "references": "references (VideoStudio), tuned weights",
    "shared_attention": "shared attention (StoryDiffusion), base",
    "in_context": "panels (In-Context LoRA), base",
    "image_to_video": "key frames apart, base",
}
AGREEMENT = (
    *("shot consistency", "cross-shot consistency", "between scenes", "above other scenes"),
    *("LPIPS across shots", "seen 1 shots ago", "seen 2-3 shots ago", "copied shots"),
)
SHOWN = (
    *("top-5", "rank", "cuts right", "cuts inside shots", "transition deviation"),
    *("false transitions", "motion", "Frechet"),
)
# How alike a shot is to itself with another seed: less is more diverse.
ACROSS_SEEDS = ("across seeds", "cross-shot consistency")
# What is compared scene by scene with the row of shots that do not see each other.
FLOOR = "independent"
COMPARED = (
    *("cross-shot consistency", "above other scenes", "LPIPS across shots"),
    *("shot consistency", "rank", "motion"),
)


def find_row(name: str) -> Row:
    """Returns a row of `evaluate.py`."""
    return (ROWS | BASELINES)[name]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a file of results, complete or not at all."""
    with replace_atomically(path) as part:
        part.write_text(json.dumps(value, indent=1) + "\n")


def keep(samples: Path, out: Path) -> None:
    """Writes `OUT/results.json`: the measures of every row by its name, and the notes of the evaluation.

    Raises:
        InputError: the evaluation has not all rows.
    """
    found = json.loads((samples / "results.json").read_text())
    titles = {"filmed": "as filmed"} | {n: find_row(n).title for n in TITLES if n != "filmed"}
    missing = [name for name, title in titles.items() if title not in found["rows"]]
    if missing:
        raise InputError(f"{samples}: found no rows {', '.join(missing)}, expected all of TITLES")
    kept = {name: found["rows"][title] for name, title in titles.items()}
    write_json(out / "results.json", {"rows": kept, "notes": found["notes"]})


def keep_seeds(samples: Path, out: Path) -> None:
    """Writes `OUT/seeds.json`: agreement over seeds and over shots, of the rows that were sampled with several.

    Raises:
        InputError: no row was.
    """
    found = json.loads((samples / "results.json").read_text())["rows"]
    titles = {name: find_row(name).title for name in TITLES if name != "filmed"}
    kept = {
        name: {measure: found[title][measure] for measure in ACROSS_SEEDS}
        for name, title in titles.items()
        if ACROSS_SEEDS[0] in found.get(title, ())
    }
    if not kept:
        raise InputError(f"{samples}: found no row with {ACROSS_SEEDS[0]!r}, expected --seeds=2")
    write_json(out / "seeds.json", {"rows": kept})


def read_rows(path: Path) -> dict[str, dict[str, Estimate]]:
    """Returns the measures of every row."""
    rows = json.loads(path.read_text())["rows"]
    return {name: {m: Estimate(**e) for m, e in row.items()} for name, row in rows.items()}


def write_tables(out: Path) -> str:
    """Returns the tables of docs/baselines.md: what agrees, what is shown, costs, and two seeds."""
    rows, seeds = read_rows(out / "results.json"), read_rows(out / "seeds.json")
    show = lambda columns, rows=rows: {
        name: [row[column].show() if column in row else "-" for column in columns]
        for name, row in rows.items()
    }
    less = {
        name: [_subtract(row, rows[FLOOR], column) for column in COMPARED]
        for name, row in rows.items()
        if name not in (FLOOR, "filmed")
    }
    costs = json.loads((out / "costs.json").read_text())
    spent = {n: [str(c["windows"]), f"{c['tflop']:.2f}"] for n, c in costs.items()}
    tables = (
        to_table("film: what agrees", AGREEMENT, show(AGREEMENT), TITLES),
        to_table("film: what is shown", SHOWN, show(SHOWN), TITLES),
        to_table(f"film: less {TITLES[FLOOR]}", COMPARED, less, TITLES),
        to_table("film: one scene", ("windows", "TFLOP"), spent, TITLES),
        to_table("film: two seeds", ACROSS_SEEDS, show(ACROSS_SEEDS, seeds), TITLES),
    )
    return "\n".join(tables)


def _subtract(row: Mapping[str, Estimate], floor: Mapping[str, Estimate], measure: str) -> str:
    difference = estimate_difference(row[measure], floor[measure])
    return "-" if difference is None else difference.show()


def load_scene(generator: Generator, name: str) -> EvaluatedScene:
    """Returns the first shots of a held-out scene, with the film's own."""
    pictures = choose_pictures(generator, {})
    scenes = {s.id: s for s in load_scenes(FILM / "scenes.json", pictures, split="held_out")}
    if name not in scenes:
        raise InputError(f"--scene: found {name!r}, expected one of {', '.join(scenes)}")
    return scenes[name].begin(SHOTS)


def begin(generators: Mapping[str, Generator], row: Row, scene: EvaluatedScene) -> SampledScene:
    """Returns a scene of a row, of which nothing is sampled yet."""
    script = speak_alone(scene.script) if row.apart else scene.script
    settings: dict[str, Any] = {**row.fields, "steps": STEPS}
    animator = generators[row.animator] if row.animator else None
    generator = generators[row.weights]
    return generator.sample(script, mode=row.mode, animator=animator, **settings)


def write_costs(name: str, out: Path) -> None:
    """Counts the FLOPs of a scene by every row, in all rows of guidance, and writes `OUT/costs.json`."""
    generators = {key: lct_jax.load(path, codec=CODEC) for key, path in WEIGHTS.items()}
    scene = load_scene(generators["base"], name)
    rows = {name: find_row(name) for name in TITLES if name != "filmed"}
    methods = {n: count_windows(begin(generators, row, scene)) for n, row in rows.items()}
    write_json(out / "costs.json", methods)


def write_picture(name: str, samples: Path, picture: Path) -> None:
    """Draws one scene as filmed and by every row, a column a shot, in a palette so that the file is small."""
    scene = load_scene(lct_jax.load(WEIGHTS["base"], codec=CODEC), name)
    break_title = lambda title: title.replace(" (", "\n(").replace(", ", "\n")
    rows: dict[str, Sequence[np.ndarray]] = {
        TITLES["filmed"]: [frames[len(frames) // 2] for frames in scene.filmed]
    }
    for row in (row for row in TITLES if row != "filmed"):
        found = read_scene(samples / "samples" / row / f"{name}.0")
        rows[break_title(TITLES[row])], credit = found.frames, found.credit
    prompts = [f"{n}: {shot.text}" for n, shot in enumerate(scene.script.shots, start=1)]
    text = "\n".join(line for part in [*prompts, credit] for line in wrap(part, LETTER, LINE))
    comment = PngImagePlugin.PngInfo()
    comment.add_itxt("Comment", credit)
    page = draw(rows, text, scale=1).quantize(256, dither=Image.Dither.NONE)
    with replace_atomically(picture) as part:
        page.save(part, format="PNG", pnginfo=comment, optimize=True)


def main(argv: Sequence[str]) -> None:
    task, out, samples = argv[1:], Path(OUT.value), Path(SAMPLES.value)
    make_folder(out)
    match task:
        case ["keep"]:
            keep(samples, out)
        case ["keep_seeds"]:
            keep_seeds(samples, out)
        case ["costs"]:
            write_costs(SCENE.value, out)
        case ["picture"]:
            write_picture(SCENE.value, samples, Path(PICTURE.value))
        case ["table"]:
            print(write_tables(out), end="")
        case _:
            raise InputError(f"found {task}, expected {TASKS}")


if __name__ == "__main__":
    SCENE = flags.DEFINE_string("scene", "hail_of_nuts", "The scene that is timed or drawn.")
    SAMPLES = flags.DEFINE_string("samples", "runs/film_baselines", "Folder of the evaluation.")
    OUT = flags.DEFINE_string("out", str(RESULTS), "Folder of the results.")
    PICTURE = flags.DEFINE_string("picture", "docs/film_baselines.png", "The picture, a PNG.")
    run(main, operand=TASKS)
