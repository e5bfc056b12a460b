r"""Compares LCT with VideoStudio, StoryDiffusion and In-Context LoRA on puppets: a table, costs, and a picture.

    python -m benchmarks.baselines --out=examples/puppets/baselines --picture=docs/baselines.png --scene=14

The rows are those that `lct_jax.evaluation.puppets` has written, in `--out` and in examples/puppets/table; the weights
are those in examples/puppets. `OUT/table.md` has what is measured and what it costs. Costs are kept in `OUT/costs.json`
and sampled frames in `--frames`, so the same command goes on where it was; without `--picture` nothing is sampled but
one scene for the costs.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import lct_jax
from benchmarks.machine import find_machine
from benchmarks.puppets_picture import describe, draw
from lct_jax.backbones.registry import count_costs
from lct_jax.cli import run
from lct_jax.evaluation.puppet_measures import Share
from lct_jax.evaluation.puppet_table import BASELINES, ROWS, find_diversity, show
from lct_jax.evaluation.puppets import DRAWING, SEED, sample_shots, write_words
from lct_jax.files import replace_atomically
from lct_jax.generator import Generator
from lct_jax.plan.scenes import count_full_pass, count_scene
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import draw_scene

WEIGHTS, MEASURED = Path("examples/puppets"), Path("examples/puppets/table")
CODEC = WEIGHTS / "patch_codec.safetensors"
GUIDANCE = 5.0


@dataclasses.dataclass(frozen=True)
class Method:
    """Is a way to make a scene.

    Attributes:
        title: its name in the table. weights: a file of examples/puppets. row: a row of `lct_jax.evaluation.puppets`.
        animator: the weights that make videos of its pictures, "" for the same.
    """

    title: str
    weights: str
    row: str
    animator: str = ""

    @property
    def name(self) -> str:
        """The name of its results."""
        return f"{self.weights}.{self.row}"


METHODS = (
    Method("LCT, jointly", "puppets", "joint"),
    Method("LCT, shot after shot", "puppets", "autoregressive"),
    Method("LCT, causal with cache", "puppets_causal", "causal"),
    Method("VideoStudio: references", "puppets", "references"),
    Method("StoryDiffusion: shared attention", "puppets_base", "shared_attention"),
    Method("In-Context LoRA: panels", "puppets_in_context", "in_context", "puppets_base"),
    Method("key frames apart", "puppets_base", "image_to_video"),
    Method("drawn key frames", "puppets_base", "image_to_video_drawn"),
    Method("shots apart", "puppets_base", "apart"),
    Method("shots apart, tuned weights", "puppets", "independent"),
)
COLUMNS = {
    "environment agrees": "environment agrees",
    "next to each other": "environment agree at distance 1",
    "seven shots away": "environment agree at distance 7",
    "characters agree": "characters agree",
    "returning characters": "returning characters agree",
    "environment obeys": "environment obeys",
    "characters obey": "characters obey",
    "who": "who",
    "motion and camera": "motion and camera",
    "cuts": "cuts",
}


def load_shares(folder: Path) -> dict[str, dict[str, Share]]:
    """Returns the shares of every method that was measured, by its name."""
    found = {}
    for method in METHODS:
        for place in (folder, MEASURED):
            path = place / f"{method.name}.json"
            if path.exists() and method.name not in found:
                values = json.loads(path.read_text())["shares"]
                found[method.name] = {name: Share(**share) for name, share in values.items()}
    return found


def write_tables(shares: dict[str, dict[str, Share]], costs: dict[str, Any]) -> str:
    """Returns two tables in Markdown: what is measured, and what it takes."""
    measured = [m for m in METHODS if m.name in shares]
    names = [*COLUMNS, "readable", "diversity"]
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method in measured:
        own = shares[method.name]
        cells = [show(own[name]) if name in own else "-" for name in COLUMNS.values()]
        diversity = find_diversity(own)
        cells += [f"{own['environment agrees'].told:.2f}"]
        cells += ["-" if diversity is None else f"{diversity:.2f}"]
        lines.append(f"| {method.title} | {' | '.join(cells)} |")
    lines += ["", "| | passes a scene | GFLOP a scene | seconds of one core |", "|---|---|---|---|"]
    for method in METHODS:
        if method.name in costs:
            cost = costs[method.name]
            cells = (cost["passes"], f"{cost['gflop']:.0f}", f"{cost['seconds']:.1f}")
            lines.append(f"| {method.title} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


class Models:
    """Opens weights of examples/puppets, each once."""

    def __init__(self) -> None:
        self._opened: dict[str, Generator] = {}

    def open(self, name: str) -> Generator | None:
        """Returns the generator of a file, None for no name."""
        if name and name not in self._opened:
            self._opened[name] = lct_jax.load(WEIGHTS / f"{name}.safetensors", codec=CODEC)
        return self._opened.get(name)


def sample(method: Method, number: int, models: Models) -> list[np.ndarray]:
    """Returns the frames of every shot of a scene."""
    scene = draw_scene(SEED, number, DRAWING)
    generator, row = models.open(method.weights), (ROWS | BASELINES)[method.row]
    animator = models.open(method.animator)
    return sample_shots(generator, scene, row, guidance=GUIDANCE, animator=animator)


def count(method: Method, number: int, models: Models) -> dict[str, float]:
    """Returns the passes and GFLOPs of a scene in both rows of guidance, and the seconds of one core that it takes.

    Seconds are those of the process, of a second time, when all programs are compiled.
    """
    drawn, row = draw_scene(SEED, number, DRAWING), (ROWS | BASELINES)[method.row]
    generator = models.open(method.weights)
    height, width = drawn.size
    with tempfile.TemporaryDirectory() as folder:
        script = write_words(drawn, row, Path(folder))
        scene = generator.sample(script, mode=row.mode, height=height, width=width, **row.fields)
    costs, request, config = count_costs(generator.config.network), scene.request, scene.sampling
    if row.mode == "causal":
        spent = count_scene(costs, request, config, "causal")
    else:
        spent = [count_full_pass(costs, request, config, window) for window in scene.windows]
    sample(method, number, models)
    start = time.process_time()
    sample(method, number, models)
    return {
        "passes": sum(cost.passes for cost in spent),
        "gflop": sum(cost.flops.total for cost in spent) / 1e9,
        "seconds": time.process_time() - start,
    }


def keep_costs(path: Path, number: int, models: Models) -> dict[str, Any]:
    """Returns the costs of all methods whose weights are there, from the file where they are in it."""
    found = json.loads(path.read_text()) if path.exists() else {"machine": find_machine()}
    for method in METHODS:
        if method.name in found or not (WEIGHTS / f"{method.weights}.safetensors").exists():
            continue
        found[method.name] = count(method, number, models)
        with replace_atomically(path) as unfinished:
            unfinished.write_text(json.dumps(found, indent=1) + "\n")
    return found


def keep_frames(folder: Path, number: int, models: Models) -> dict[str, list[np.ndarray]]:
    """Returns the middle frames of a scene by every method, from the folder where they are in it."""
    scene = draw_scene(SEED, number, DRAWING)
    shots = [render_shot(scene, shot) for shot in scene.shots]
    rows = {"as drawn": [frames[len(frames) // 2] for frames in shots]}
    for method in METHODS:
        path = folder / f"{number}.{method.name}.npy"
        if not path.exists():
            frames = [shot[len(shot) // 2] for shot in sample(method, number, models)]
            folder.mkdir(parents=True, exist_ok=True)
            with replace_atomically(path) as unfinished, unfinished.open("wb") as file:
                np.save(file, np.stack(frames))
        rows[method.title] = list(np.load(path))
    return rows


def main(argv: Sequence[str]) -> None:
    del argv
    out, models = Path(OUT.value), Models()
    costs = keep_costs(out / "costs.json", SCENE.value, models)
    text = write_tables(load_shares(out), costs)
    with replace_atomically(out / "table.md") as unfinished:
        unfinished.write_text(text)
    print(text)
    if PICTURE.value:
        rows = keep_frames(Path(FRAMES.value), SCENE.value, models)
        sheet = draw(rows, describe(draw_scene(SEED, SCENE.value, DRAWING)))
        with replace_atomically(Path(PICTURE.value)) as unfinished:
            sheet.save(unfinished, format="PNG")


if __name__ == "__main__":
    OUT = flags.DEFINE_string("out", None, "Folder of the rows and of the table.", required=True)
    SCENE = flags.DEFINE_integer("scene", 14, "Number of the scene that is drawn and timed.")
    PICTURE = flags.DEFINE_string("picture", None, "The picture to draw, a PNG.")
    FRAMES = flags.DEFINE_string("frames", "runs/baselines", "Folder that keeps sampled frames.")
    run(main)
