r"""Samples puppet scenes in several ways and measures what they show: each way is one row of the table.

    python -m lct_jax.evaluation.puppets --checkpoint=runs/puppets --rows=independent,joint,autoregressive \
        --scenes=32 --out=runs/puppets_table

`--checkpoint` is a run's folder, or weights saved by lct_jax.export with `--codec=FILE` beside them; rows are those
of `lct_jax/evaluation/puppet_table.py`, or `all` that the weights' context allows. Sampling is that of the run's
config, except for `--guidance` and what a row changes. In every scene character 1 leaves after the first shot and
returns five shots later; `--shots=20` has longer scenes, of which jointly sampled rows see at most a window. Shots that a row gives are given as the first frame of the rendered shot. A scene that is
done is kept in `OUT/NAME.ROW.jsonl` and not sampled again, so the same command continues; when all are done,
`OUT/NAME.ROW.json` has the shares, and `OUT/table.md` all rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from lct_jax.cli import define_path, run
from lct_jax.errors import InputError, make_folder
from lct_jax.evaluation.puppet_measures import Share, Tally, judge_scene
from lct_jax.evaluation.puppet_table import ROWS, Row, summarize, to_markdown
from lct_jax.evaluation.rollout_measures import judge_by_number
from lct_jax.evaluation.sample_row import fingerprint_of, make_single
from lct_jax.files import replace_atomically
from lct_jax.generator import Generator
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import Drawing, PuppetScene, draw_scene
from lct_jax.puppets.words import write_script
from lct_jax.sampling.modes import MODES
from lct_jax.seeds import make_key
from lct_jax.startup import define_compilation_cache, use_compilation_cache

# No scene of this seed is trained on.
SEED = 1_000_003
# All shots have one size and one length, so that they share their compiled programs.
DRAWING = Drawing(shots=(8, 8), withhold=0.5, sizes=((32, 32),), frames=(5,), absence=5)


def lengthen(shots: int) -> Drawing:
    """Returns what the scenes of an evaluation are drawn by, with so many shots each: 7 or more."""
    return dataclasses.replace(DRAWING, shots=(shots, shots))


def sample_shots(
    generator: Generator, scene: PuppetScene, row: Row, *, guidance: float | None = None
) -> list[np.ndarray]:
    """Returns the frames of every shot of a scene, sampled in one way; for a shot that the row gives, the given
    picture.

    Args:
        guidance: is used in place of the config's.
    """
    pictures = {number: render_shot(scene, scene.shots[number])[:1] for number in row.given}
    height, width = scene.size
    settings = choose_settings(generator, row, guidance) | {"height": height, "width": width}
    script, key = write_script(scene), make_key(settings["seed"])
    key = jax.random.fold_in(key, scene.seed[1])
    if row.alone:
        told = not generator.config.data.singles_from_scenes
        singles = (
            generator.sample(
                make_single(script, number, told=told),
                mode=row.mode,
                key=jax.random.fold_in(key, number),
                **settings,
            )
            for number in range(len(scene.shots))
        )
        return [shot.frames for single in singles for shot in single]
    sampled = generator.sample(script, mode=row.mode, given=pictures, key=key, **settings)
    frames = pictures | {shot.number: shot.frames for shot in sampled}
    return [frames[number] for number in range(len(scene.shots))]


def choose_settings(generator: Generator, row: Row, guidance: float | None) -> dict[str, Any]:
    """Returns the sampling settings of a row: the run's, the row's own changes, and the guidance asked for."""
    settings = dataclasses.asdict(generator.config.sampling)
    if guidance is not None:
        settings["guidance"] = guidance
    return settings | row.fields


def evaluate_row(
    generator: Generator,
    row: Row,
    scenes: int,
    file: Path,
    *,
    drawing: Drawing = DRAWING,
    guidance: float | None = None,
) -> Iterator[Mapping[str, Tally]]:
    """Yields the tallies of every scene, from the file where they are in it, and writes the others to it.

    Args:
        drawing: what scenes are drawn. guidance: is used in place of the config's.

    Raises:
        InputError: the file has scenes that were sampled from other weights or in another way.
    """
    made = json.dumps(describe(generator, row, guidance, drawing))
    lines = file.read_text().splitlines() if file.exists() else [made]
    if lines[0] != made:
        raise InputError(
            f"{file}: found results of other weights or settings, expected none or those of this"
            " command (--name or --out)"
        )
    for number in range(scenes):
        if number + 1 < len(lines):
            yield {name: Tally(*counts) for name, counts in json.loads(lines[number + 1]).items()}
            continue
        scene = draw_scene(SEED, number, drawing)
        frames = sample_shots(generator, scene, row, guidance=guidance)
        seen = [read_shot(shot) for shot in frames]
        tallies = judge_scene(scene, seen, given=row.given) | judge_by_number(scene, frames, seen)
        lines.append(json.dumps(tallies))
        with replace_atomically(file) as unfinished:
            unfinished.write_text("\n".join(lines) + "\n")
        yield tallies


def describe(
    generator: Generator, row: Row, guidance: float | None, drawing: Drawing = DRAWING
) -> dict[str, object]:
    """Returns everything that results depend on, as JSON."""
    settings = choose_settings(generator, row, guidance)
    return {
        "weights": fingerprint_of(generator.place(settings["shards"]).params),
        "mode": row.mode,
        "given": list(row.given),
        **({"alone": True} if row.alone else {}),
        "sampling": settings,
        "seed": SEED,
        "drawing": json.loads(json.dumps(dataclasses.asdict(drawing))),
    }


def write_table(folder: Path) -> str:
    """Writes all completed rows as `table.md` and returns the text."""
    rows = {}
    for path in sorted(folder.glob("*.json")):
        shares = json.loads(path.read_text())["shares"]
        rows[path.stem] = {name: Share(**values) for name, values in shares.items()}
    text = to_markdown(rows)
    with replace_atomically(folder / "table.md") as unfinished:
        unfinished.write_text(text)
    return text


def choose_rows(text: str, *, causal: bool) -> list[str]:
    """Returns the names of rows; raises InputError for an unknown row, or one that the weights cannot be sampled by."""
    fitting = [name for name, row in ROWS.items() if causal or not MODES[row.mode].causal]
    names = fitting if text == "all" else text.split(",")
    for name in names:
        if name not in ROWS:
            raise InputError(f"--rows: found {name!r}, expected some of {', '.join(ROWS)}")
        if name not in fitting:
            raise InputError(f"--rows: found {name!r}, expected weights of context 'causal' for it")
    return names


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    origin, out = Path(CHECKPOINT.value), Path(OUT.value)
    generator = Generator.load(origin, codec=CODEC.value, encoder=ENCODER.value)
    causal = generator.config.training.context == "causal"
    names, drawing = choose_rows(ROWS_WANTED.value, causal=causal), lengthen(SHOTS.value)
    make_folder(out)
    for name in names:
        label = f"{NAME.value or generator.config.name}.{name}"
        rows = evaluate_row(
            generator,
            ROWS[name],
            SCENES.value,
            out / f"{label}.jsonl",
            drawing=drawing,
            guidance=GUIDANCE.value,
        )
        tallies = list(tqdm(rows, total=SCENES.value, desc=label, unit="scene"))
        shares = {key: dataclasses.asdict(share) for key, share in summarize(tallies).items()}
        made = describe(generator, ROWS[name], GUIDANCE.value, drawing) | {"scenes": SCENES.value}
        with replace_atomically(out / f"{label}.json") as unfinished:
            unfinished.write_text(json.dumps({**made, "shares": shares}, indent=1) + "\n")
    print(write_table(out))


if __name__ == "__main__":
    CHECKPOINT = define_path("checkpoint", "Run folder or weights.", required=True)
    CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
    ENCODER = define_path(
        "encoder", "Folder of the text encoder, where it was moved after training."
    )
    ROWS_WANTED = flags.DEFINE_string("rows", "all", "Rows of the table, separated by commas.")
    SCENES = flags.DEFINE_integer("scenes", 32, "How many scenes.", lower_bound=1)
    SHOTS = flags.DEFINE_integer("shots", 8, "Shots of a scene.", lower_bound=7)
    GUIDANCE = flags.DEFINE_float("guidance", None, "Default: that of the run's config.", 0.0)
    NAME = flags.DEFINE_string("name", "", "Of the weights in the table; default: the config's.")
    OUT = define_path("out", "Folder of the results.", required=True)
    define_compilation_cache()
    run(main)
