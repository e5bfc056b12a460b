r"""Samples puppet scenes in several ways and measures what they show: each way is one row of the table.

    python -m lct_jax.evaluation.puppets --checkpoint=runs/puppets --rows=independent,joint,autoregressive \
        --scenes=32 --out=runs/puppets_table

`--checkpoint` is a run's folder, or weights saved by lct_jax.export with `--codec=FILE` beside them; rows are those
of `lct_jax/evaluation/puppet_table.py`, or `all` that the weights' context allows; the world is that of their config.
Sampling is that of the run's config, except for what a row changes and for its fields that are given as flags, such as
`--guidance`. In every scene of two characters the first leaves after the first shot and returns five shots later; with
`--characters=1` one is alone, and in nearly every shot. Scenes of `--shots=20` are longer than a window, and are
measured by the number of the shot, too (`lct_jax/evaluation/rollout_measures.py`). Shots that a row gives are given as
the first frame of the rendered shot. A scene that is done is kept in `OUT/NAME.ROW.jsonl` and not sampled again, so the
same command continues; when all are done, `OUT/NAME.ROW.json` has the shares, and `OUT/table.md` all rows.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

import lct_jax
from lct_jax.cli import define_path, define_sampling, run
from lct_jax.codecs.registry import describe_decoder
from lct_jax.directing.arrange import tell_apart
from lct_jax.directing.prompts import Condition
from lct_jax.directing.script import Script
from lct_jax.errors import InputError, make_folder
from lct_jax.evaluation.kept_scenes import iter_scenes
from lct_jax.evaluation.puppet_measures import Tally, count_values, judge_scene
from lct_jax.evaluation.puppet_table import (
    ALL_ROWS,
    ROWS,
    Row,
    read_shares,
    summarize,
    to_markdown,
)
from lct_jax.evaluation.rollout_measures import judge_by_number
from lct_jax.evaluation.sample_row import fingerprint_of
from lct_jax.files import replace_atomically
from lct_jax.generator import Generator
from lct_jax.puppets.scene import Drawing, PuppetScene
from lct_jax.puppets.worlds import find_world
from lct_jax.sampling.modes import MODES
from lct_jax.seeds import make_key
from lct_jax.startup import define_compilation_cache, use_compilation_cache

# No scene of this seed is trained on.
SEED = 1_000_003
# All shots have one size and one length, so that they share their compiled programs.
DRAWING = Drawing(shots=(8, 8), withhold=0.5, sizes=((32, 32),), frames=(5,), absence=5)


def lengthen(shots: int, world: str = "puppets", *, characters: int = 2) -> Drawing:
    """Returns what the scenes of an evaluation are drawn by in a world.

    Args:
        shots: of each scene, 7 or more. characters: 2, of whom the first leaves and returns, or 1, who does not leave.
    """
    sizes = (find_world(world).evaluated,)
    drawing = dataclasses.replace(DRAWING, shots=(shots, shots), sizes=sizes)
    return drawing if characters == 2 else dataclasses.replace(drawing, absence=0, cast=(1, 1))


def sample_shots(
    generator: Generator,
    scene: PuppetScene,
    row: Row,
    *,
    settings: Mapping[str, Any] = MappingProxyType({}),
    animator: Generator | None = None,
) -> list[np.ndarray]:
    """Returns the frames of every shot of a scene, sampled in one way; for a shot that the row gives, the given
    picture.

    Args:
        settings: fields of the sampling config that are used in place of the run's.
        animator: makes videos of sampled pictures; None makes them with the same weights.
    """
    render_shot = find_world(scene.world).render_shot
    pictures = {number: render_shot(scene, scene.shots[number])[:1] for number in row.given}
    chosen = choose_settings(generator, row, settings)
    height, width = scene.size
    seed = make_key(chosen["seed"])
    with tempfile.TemporaryDirectory() as folder:
        sampled = generator.sample(
            write_words(scene, row, Path(folder)),
            mode=row.mode,
            given=pictures,
            key=jax.random.fold_in(seed, scene.seed[1]),
            animator=animator,
            **{**chosen, "height": height, "width": width},
        )
    frames = pictures | {shot.number: shot.frames for shot in sampled}
    return [frames[number] for number in range(len(scene.shots))]


def write_words(scene: PuppetScene, row: Row, folder: Path) -> Script:
    """Returns the script of a scene as a row needs it; first frames that it holds are written into the folder."""
    world = find_world(scene.world)
    script = world.write_script(scene)
    if row.drawn:
        first = []
        for number, shot in enumerate(scene.shots):
            path = folder / f"{number}.png"
            Image.fromarray(world.render_shot(scene, shot)[0]).save(path)
            first.append(dataclasses.replace(script.shots[number], first=Condition(str(path))))
        script = dataclasses.replace(script, shots=tuple(first))
    return tell_apart(script) if row.apart else script


def choose_settings(generator: Generator, row: Row, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sampling settings of a row: the run's, those that were asked for, and the row's own changes."""
    return dataclasses.asdict(generator.config.sampling) | settings | row.fields


def evaluate_row(
    generator: Generator,
    row: Row,
    scenes: int,
    file: Path,
    *,
    drawing: Drawing = DRAWING,
    settings: Mapping[str, Any] = MappingProxyType({}),
    animator: Generator | None = None,
) -> Iterator[Mapping[str, Tally]]:
    """Yields the tallies of every scene, from the file where they are in it, and writes the others to it.

    Args:
        drawing: what scenes are drawn. settings, animator: see `sample_shots`.

    Raises:
        InputError: the file has scenes that were sampled from other weights or in another way.
    """

    world = find_world(generator.config.world)

    def measure(number: int) -> Mapping[str, Tally]:
        scene = world.draw_scene(SEED, number, drawing)
        sampled = sample_shots(generator, scene, row, settings=settings, animator=animator)
        seen = [world.read_shot(frames) for frames in sampled]
        by_number = judge_by_number(scene, sampled, seen)
        return judge_scene(scene, seen, given=row.given) | count_values(scene, seen) | by_number

    made = describe(generator, row, settings, animator, drawing=drawing)
    for tallies in iter_scenes(file, made, scenes, measure):
        yield {name: Tally(*counts) for name, counts in tallies.items()}


def describe(
    generator: Generator,
    row: Row,
    settings: Mapping[str, Any] = MappingProxyType({}),
    animator: Generator | None = None,
    *,
    drawing: Drawing = DRAWING,
) -> dict[str, object]:
    """Returns everything that results depend on, as JSON."""
    chosen = choose_settings(generator, row, settings)
    more = {name: True for name in ("apart", "drawn") if getattr(row, name)}
    more |= describe_decoder(generator.codec)
    if animator is not None:
        more["animator"] = fingerprint_of(animator.place(chosen["shards"]).params)
    return {
        "weights": fingerprint_of(generator.place(chosen["shards"]).params),
        "mode": row.mode,
        "given": list(row.given),
        "sampling": chosen,
        "seed": SEED,
        "drawing": json.loads(json.dumps(dataclasses.asdict(drawing))),
        **more,
    }


def write_table(folder: Path) -> str:
    """Writes all completed rows as `table.md` and returns the text."""
    text = to_markdown({path.stem: read_shares(path) for path in sorted(folder.glob("*.json"))})
    with replace_atomically(folder / "table.md") as unfinished:
        unfinished.write_text(text)
    return text


def choose_rows(text: str, *, causal: bool) -> list[str]:
    """Returns the names of rows; raises InputError for an unknown row, or one that the weights cannot be sampled by."""
    fitting = [name for name, row in ALL_ROWS.items() if causal or not MODES[row.mode].causal]
    names = [n for n in fitting if n in ROWS] if text == "all" else text.split(",")
    for name in names:
        if name not in ALL_ROWS:
            raise InputError(f"--rows: found {name!r}, expected some of {', '.join(ALL_ROWS)}")
        if name not in fitting:
            raise InputError(f"--rows: found {name!r}, expected weights of context 'causal' for it")
    return names


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises InputError for settings that every scene has of its own."""
    for name in ("frames", "height", "width"):
        if name in settings:
            raise InputError(
                f"--{name}: found {settings[name]}, expected none: scenes have their own"
            )


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    origin, out = Path(CHECKPOINT.value), Path(OUT.value)
    generator = lct_jax.load(origin, codec=CODEC.value, encoder=ENCODER.value)
    causal = generator.config.training.context == "causal"
    names = choose_rows(ROWS_WANTED.value, causal=causal)
    check_settings(SETTINGS())
    animator = None
    if ANIMATOR.value is not None:
        animator = lct_jax.load(ANIMATOR.value, codec=CODEC.value, encoder=ENCODER.value)
    make_folder(out)
    for name in names:
        label, row = f"{NAME.value or generator.config.name}.{name}", ALL_ROWS[name]
        how = {
            "settings": SETTINGS(),
            "animator": animator,
            "drawing": lengthen(SHOTS.value, generator.config.world, characters=CHARACTERS.value),
        }
        rows = evaluate_row(generator, row, SCENES.value, out / f"{label}.jsonl", **how)
        tallies = list(tqdm(rows, total=SCENES.value, desc=label, unit="scene"))
        shares = {key: dataclasses.asdict(share) for key, share in summarize(tallies).items()}
        made = describe(generator, row, **how) | {"scenes": SCENES.value}
        with replace_atomically(out / f"{label}.json") as unfinished:
            unfinished.write_text(json.dumps({**made, "shares": shares}, indent=1) + "\n")
    print(write_table(out))


if __name__ == "__main__":
    CHECKPOINT = define_path("checkpoint", "Run folder or weights.", required=True)
    CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
    ENCODER = define_path(
        "encoder", "Folder of the text encoder, where it was moved after training."
    )
    ANIMATOR = define_path("animator", "Weights that make videos of sampled pictures.")
    ROWS_WANTED = flags.DEFINE_string("rows", "all", "Rows of the table, separated by commas.")
    SCENES = flags.DEFINE_integer("scenes", 32, "How many scenes.", lower_bound=1)
    SHOTS = flags.DEFINE_integer("shots", 8, "Shots of a scene.", lower_bound=7)
    CHARACTERS = flags.DEFINE_integer(
        "characters", 2, "Characters of a scene.", lower_bound=1, upper_bound=2
    )
    NAME = flags.DEFINE_string("name", "", "Of the weights in the table; default: the config's.")
    OUT = define_path("out", "Folder of the results.", required=True)
    SETTINGS = define_sampling()
    define_compilation_cache()
    run(main)
