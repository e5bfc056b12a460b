r"""Measures on puppet scenes what a person does with the model, with intervals: each part is a table.

    python -m lct_jax.evaluation.directing --checkpoint=examples/puppets/puppets.safetensors \
        --codec=examples/puppets/patch_codec.safetensors --scenes=32 --out=runs/directing

`--parts` are those of `lct_jax/evaluation/directing_parts.py`: a given first frame, a take without cuts, a pool of
twenty shots, a cast with pictures, solvers. Sampling is that of the run's config, jointly or one shot after another,
and with a cache where the weights are causal. A scene that is done is kept in `OUT/NAME.PART.jsonl` and not sampled
again, so the same command goes on; when all are done, `OUT/NAME.PART.json` has the means, and `OUT/table.md` all parts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

import lct_jax
from lct_jax.cli import define_path, run
from lct_jax.directing.script import Script
from lct_jax.distributed.sharding import make_mesh
from lct_jax.errors import InputError, make_folder
from lct_jax.evaluation.bootstrap import Estimate, estimate_mean
from lct_jax.evaluation.directing_cases import Cases
from lct_jax.evaluation.directing_parts import PARTS, Part
from lct_jax.evaluation.kept_scenes import iter_scenes
from lct_jax.evaluation.puppets import SEED
from lct_jax.evaluation.sample_row import fingerprint_of
from lct_jax.files import replace_atomically
from lct_jax.generator import Generator
from lct_jax.puppets.scene import PuppetScene, draw_scene
from lct_jax.sampled_scene import FinishedShot
from lct_jax.seeds import make_key
from lct_jax.startup import define_compilation_cache, use_compilation_cache

Estimates = dict[str, dict[str, Estimate]]


class PuppetSampler:
    """Samples puppet scenes with one generator, each from the noise of its own number."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.causal = generator.config.training.context == "causal"

    def sample(
        self,
        scene: PuppetScene,
        script: Script,
        *,
        in_turn: bool = False,
        given: Mapping[int, np.ndarray] | None = None,
        **fields: Any,
    ) -> list[FinishedShot]:
        """Returns the sampled shots in order of the script; the arguments are those of `Sampler` in
        `directing_parts.py`."""
        mode = "causal" if self.causal else "autoregressive" if in_turn else "joint"
        seed = make_key(self.generator.config.sampling.seed)
        height, width = scene.size
        sampled = self.generator.sample(
            script,
            mode=mode,
            given=given,
            key=jax.random.fold_in(seed, scene.seed[1]),
            **{"height": height, "width": width, **fields},
        )
        return sorted(sampled, key=lambda shot: shot.number)

    def through_codec(self, frames: np.ndarray) -> np.ndarray:
        """Returns frames as the codec gives them back."""
        codec = self.generator.codec
        with jax.set_mesh(make_mesh(devices=jax.local_devices())):
            return codec.decode(codec.encode(frames))


def find_scenes(part: Part) -> Iterator[PuppetScene]:
    """Yields the scenes of a part, in the order of their numbers; there is no end of them."""
    drawn = (draw_scene(SEED, number, part.drawing) for number in count())
    return filter(part.wanted, drawn)


def measure_part(
    sampler: PuppetSampler, name: str, scenes: int, file: Path
) -> Iterator[dict[str, Cases]]:
    """Yields the cases of every way for each scene, from the file where they are in it.

    Raises:
        InputError: the file has scenes that were sampled from other weights or in another way.
    """
    part = PARTS[name]
    chosen = list(islice(find_scenes(part), scenes))
    measure = lambda number: part.measure(sampler, chosen[number])
    return iter_scenes(file, describe(sampler.generator, part), scenes, measure)


def describe(generator: Generator, part: Part) -> dict[str, Any]:
    """Returns what results depend on, as JSON values."""
    sampling = generator.config.sampling
    return {
        "weights": fingerprint_of(generator.place(sampling.shards).params),
        "sampling": dataclasses.asdict(sampling),
        "seed": SEED,
        "drawing": json.loads(json.dumps(dataclasses.asdict(part.drawing))),
    }


def summarize(scenes: Sequence[Mapping[str, Cases]]) -> Estimates:
    """Returns the mean of every measure of every way, with its interval over scenes."""
    ways = dict.fromkeys(way for scene in scenes for way in scene)
    measures = {w: dict.fromkeys(m for scene in scenes for m in scene[w]) for w in ways}
    return {
        way: {m: estimate_mean([scene[way].get(m, []) for scene in scenes]) for m in measures[way]}
        for way in ways
    }


def to_markdown(title: str, scenes: int, estimates: Estimates) -> str:
    """Returns the table of a part: a row for each way, a column for each measure."""
    columns = list(dict.fromkeys(m for found in estimates.values() for m in found))
    lines = [f"| {title}, {scenes} scenes | {' | '.join(columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for way, found in estimates.items():
        cells = (found[c].show() if c in found else "-" for c in columns)
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_table(folder: Path) -> str:
    """Writes all completed parts as `table.md`, and returns the text."""
    tables = []
    for path in sorted(folder.glob("*.json")):
        values = json.loads(path.read_text())
        name, _, part = path.stem.rpartition(".")
        estimates = {
            way: {measure: Estimate(**fields) for measure, fields in found.items()}
            for way, found in values["ways"].items()
        }
        title = f"{name}: {PARTS[part].title}"
        tables.append(to_markdown(title, values["scenes"], estimates))
    text = "\n".join(tables)
    with replace_atomically(folder / "table.md") as unfinished:
        unfinished.write_text(text)
    return text


def choose_parts(text: str) -> list[str]:
    """Returns the names of parts; raises InputError for an unknown one."""
    names = list(PARTS) if text == "all" else text.split(",")
    for name in names:
        if name not in PARTS:
            raise InputError(f"--parts: found {name!r}, expected some of {', '.join(PARTS)}")
    return names


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    names, out = choose_parts(PARTS_WANTED.value), Path(OUT.value)
    generator = lct_jax.load(CHECKPOINT.value, codec=CODEC.value, encoder=ENCODER.value)
    make_folder(out)
    sampler = PuppetSampler(generator)
    for name in names:
        label = f"{NAME.value or generator.config.name}.{name}"
        cases = measure_part(sampler, name, SCENES.value, out / f"{label}.jsonl")
        found = summarize(list(tqdm(cases, total=SCENES.value, desc=label, unit="scene")))
        ways = {
            way: {measure: dataclasses.asdict(mean) for measure, mean in means.items()}
            for way, means in found.items()
        }
        made = describe(generator, PARTS[name]) | {"scenes": SCENES.value, "ways": ways}
        with replace_atomically(out / f"{label}.json") as unfinished:
            unfinished.write_text(json.dumps(made, indent=1) + "\n")
    print(write_table(out))


if __name__ == "__main__":
    CHECKPOINT = define_path("checkpoint", "Run folder or weights.", required=True)
    CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
    ENCODER = define_path(
        "encoder", "Folder of the text encoder, where it was moved after training."
    )
    PARTS_WANTED = flags.DEFINE_string("parts", "all", "What to measure, separated by commas.")
    SCENES = flags.DEFINE_integer("scenes", 32, "How many scenes a part.", lower_bound=1)
    NAME = flags.DEFINE_string("name", "", "Of the weights in the table; default: the config's.")
    OUT = define_path("out", "Folder of the results.", required=True)
    define_compilation_cache()
    run(main)
