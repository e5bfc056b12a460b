r"""Compares LCT with the systems that the paper compares itself with, on puppet scenes: a table, costs, and a picture.

    python -m benchmarks.baselines measure --scenes=32
    python -m benchmarks.baselines costs --scene=14
    python -m benchmarks.baselines table
    python -m benchmarks.baselines picture --scene=14 --picture=docs/baselines.png

`measure` samples the same scenes by every method of `METHODS`, or by each `--method`, and keeps what a scene shows as a
line of `OUT/METHOD.jsonl`; a scene that is there is not sampled again. Middle frames of shots are kept in `--frames`.
`costs` counts FLOPs and takes the time of one scene, all methods in turns, into `OUT/costs.json`. `table` prints the
tables of docs/baselines.md, made from these files alone.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

import lct_jax
from benchmarks import puppets_picture
from benchmarks.method_costs import count_windows, keep_costs, take_time, to_table, write_spent
from lct_jax.cli import run
from lct_jax.errors import InputError, make_folder
from lct_jax.evaluation.bootstrap import Estimate, estimate_difference
from lct_jax.evaluation.kept_scenes import iter_scenes
from lct_jax.evaluation.puppet_measures import Share, Tally, count_values, judge_scene
from lct_jax.evaluation.puppet_measures import measure as measure_share
from lct_jax.evaluation.puppet_table import (
    ALL_ROWS,
    COLUMNS,
    find_diversity,
    find_measures,
    is_of_told,
    read_tallies,
    show,
)
from lct_jax.evaluation.puppets import DRAWING, SEED, describe, sample_shots, write_words
from lct_jax.files import replace_atomically
from lct_jax.generator import Generator
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import draw_scene

WEIGHTS = Path("examples/puppets")
RESULTS = WEIGHTS / "baselines"
CODEC = WEIGHTS / "patch_codec.safetensors"
TASKS = "measure, costs, picture or table"
SETTINGS = {"guidance": 5.0}
# Trained on scenes with no more than the In-Context LoRA has (configs/puppets_budget.py).
BUDGET = "baselines/puppets_budget"


@dataclasses.dataclass(frozen=True)
class Method:
    """Is a way to make a scene.

    Attributes:
        title: its name in the tables. row: a row of `lct_jax/evaluation/puppet_table.py`.
        weights: a file below `WEIGHTS`, without its ending. animator: that of its videos of pictures, "" for the same.
    """

    title: str
    weights: str
    row: str
    animator: str = ""


METHODS = {
    "joint": Method("LCT, jointly", "puppets", "joint"),
    "autoregressive": Method("LCT, shot after shot", "puppets", "autoregressive"),
    "causal": Method("LCT, causal with cache", "puppets_causal", "causal"),
    "budget_joint": Method("LCT, jointly, equal budget", BUDGET, "joint"),
    "budget_autoregressive": Method("LCT, shot after shot, equal budget", BUDGET, "autoregressive"),
    "references": Method("references (VideoStudio), tuned weights", "puppets", "references"),
    "budget_references": Method("references (VideoStudio), equal budget", BUDGET, "references"),
    "shared_attention": Method(
        "shared attention (StoryDiffusion), base", "puppets_base", "shared_attention"
    ),
    "in_context": Method(
        "panels (In-Context LoRA), base",
        "baselines/puppets_in_context",
        "in_context",
        "puppets_base",
    ),
    "image_to_video": Method("key frames apart, base", "puppets_base", "image_to_video"),
    "apart": Method("shots apart, base", "puppets_base", "apart"),
    "independent": Method("shots apart, tuned weights", "puppets", "independent"),
    "budget_independent": Method("shots apart, equal budget", BUDGET, "independent"),
    "drawn": Method("key frames as drawn, base", "puppets_base", "image_to_video_drawn"),
}
# What is compared scene by scene: ways to sample of one budget of training, by LCT and otherwise.
COMPARED = [
    (name, other)
    for other in ("in_context", "budget_references", "budget_independent")
    for name in ("budget_joint", "budget_autoregressive")
]
AGREEMENT = {
    "environment": "environment agrees",
    "next shot": "environment agree at distance 1",
    "seven shots away": "environment agree at distance 7",
    "characters": "characters agree",
    "colours alone": "agrees/colour",
    "returning": "returning characters agree",
}
TEXT = {
    "environment obeys": "environment obeys",
    "characters obey": "characters obey",
    "who": "who",
    "framing": "framing",
    "motion and camera": "motion and camera",
    "cuts": "cuts",
}
LESS = {"environment": "environment agrees", "characters": "characters agree"} | TEXT


@cache
def load(name: str) -> Generator | None:
    """Returns the generator of a file of weights, None for no name."""
    return lct_jax.load(WEIGHTS / f"{name}.safetensors", codec=CODEC) if name else None


def sample(method: Method, number: int) -> list[np.ndarray]:
    """Returns the frames of every shot of a scene."""
    scene, row = draw_scene(SEED, number, DRAWING), ALL_ROWS[method.row]
    own, animator = load(method.weights), load(method.animator)
    return sample_shots(own, scene, row, settings=SETTINGS, animator=animator)


def take_middle(shots: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the middle frame of every shot, uint8 [shots, height, width, 3]."""
    return np.stack([frames[len(frames) // 2] for frames in shots])


def measure(name: str, scenes: int, out: Path, frames: Path) -> None:
    """Samples scenes by a method and keeps what they show, and their middle frames."""
    method, folder = METHODS[name], frames / name
    make_folder(folder)

    def look(number: int) -> Mapping[str, Tally]:
        shots = sample(method, number)
        with replace_atomically(folder / f"{number}.npy") as part, part.open("wb") as file:
            np.save(file, take_middle(shots))
        scene, seen = draw_scene(SEED, number, DRAWING), [read_shot(shot) for shot in shots]
        return judge_scene(scene, seen) | count_values(scene, seen)

    row = ALL_ROWS[method.row]
    made = describe(load(method.weights), row, SETTINGS, load(method.animator))
    list(tqdm(iter_scenes(out / f"{name}.jsonl", made, scenes, look), name, total=scenes))


def find_middle(name: str, number: int, frames: Path) -> np.ndarray:
    """Returns the middle frames of a scene by a method, sampled where they were not kept."""
    path = frames / name / f"{number}.npy"
    return np.load(path) if path.exists() else take_middle(sample(METHODS[name], number))


def draw_shots(number: int) -> np.ndarray:
    """Returns the middle frames of a scene as it was drawn."""
    scene = draw_scene(SEED, number, DRAWING)
    return take_middle([render_shot(scene, shot) for shot in scene.shots])


def count(method: Method, number: int) -> dict[str, float]:
    """Returns what the windows of a puppet scene cost."""
    drawn, row = draw_scene(SEED, number, DRAWING), ALL_ROWS[method.row]
    generator, sizes = load(method.weights), dict(zip(("height", "width"), drawn.size, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        script = write_words(drawn, row, Path(folder))
        return count_windows(generator.sample(script, mode=row.mode, **sizes, **row.fields))


def write_costs(names: Sequence[str], number: int, out: Path) -> None:
    """Counts and times a scene by every method and writes `OUT/costs.json`."""
    seconds = take_time({name: partial(sample, METHODS[name], number) for name in names})
    methods = {name: {**count(METHODS[name], number), "seconds": seconds[name]} for name in names}
    keep_costs(out, methods)


def write_tables(out: Path) -> str:
    """Returns the tables of docs/baselines.md: what agrees, what is shown, and costs.

    Raises:
        InputError: the methods were measured on different numbers of scenes.
    """
    rows = {name: read_tallies(out / f"{name}.jsonl") for name in METHODS}
    rows = {name: scenes for name, scenes in rows.items() if scenes}
    counts = {len(scenes) for scenes in rows.values()}
    if len(counts) != 1:
        raise InputError(f"{out}: found rows of {sorted(counts)} scenes, expected the same scenes")
    agreement, shown = {}, {}
    for name, scenes in rows.items():
        agreement[name] = [*show_columns(scenes, AGREEMENT), show(find_diversity(scenes))]
        shown[name] = [*show_columns(scenes, TEXT), show(find_readable(scenes))]
    titles = {name: method.title for name, method in METHODS.items()}
    untold = f"{counts.pop()} scenes: untold, and agrees"
    tables = (
        to_table(untold, [*AGREEMENT, "diversity"], agreement, titles),
        to_table("told, and shown", [*TEXT, "readable"], shown, titles),
        write_differences(rows),
        write_spent(out / "costs.json", titles),
    )
    return "\n".join(tables)


def show_columns(
    scenes: Sequence[Mapping[str, Tally]], columns: Mapping[str, str]
) -> Iterator[str]:
    """Yields the cells of a row of the tables."""
    measures = find_measures(scenes)
    for name in columns.values():
        yield show(measure_share(scenes, measures[name]))


def write_differences(rows: Mapping[str, Sequence[Mapping[str, Tally]]]) -> str:
    """Returns a table of what one method of a pair has more than the other on the same scenes."""
    cells, titles = {}, {}
    for pair in (pair for pair in COMPARED if rows.keys() >= set(pair)):
        key = " less ".join(pair)
        titles[key] = ", less ".join(METHODS[name].title for name in pair)
        found = [
            estimate_difference(*(find_cases(rows[name], COLUMNS[column]) for name in pair))
            for column in LESS.values()
        ]
        cells[key] = ["-" if difference is None else difference.show() for difference in found]
    return to_table("on the same scenes", [*LESS], cells, titles)


def find_cases(scenes: Sequence[Mapping[str, Tally]], wanted: Callable[[str], bool]) -> Estimate:
    """Returns the share over all measures whose name is wanted, with the cases of every scene."""
    cases = [[tally for name, tally in scene.items() if wanted(name)] for scene in scenes]
    sums = tuple((float(sum(c.right for c in own)), sum(c.readable for c in own)) for own in cases)
    share = measure_share(scenes, wanted)
    return Estimate(share.value, share.low, share.high, share.count, sums)


def find_readable(scenes: Sequence[Mapping[str, Tally]]) -> Share:
    """Returns the share of told attributes that can be read from the shots, rightly shown or not."""
    read = lambda tally: Tally(tally.readable, tally.asked, tally.asked)
    clear = [{name: read(tally) for name, tally in scene.items()} for scene in scenes]
    return measure_share(clear, is_of_told)


def write_picture(names: Sequence[str], number: int, frames: Path, picture: Path) -> None:
    """Draws one scene as it was drawn and by every method, a column a shot."""
    wrap = lambda title: title.replace(" (", "\n(").replace(", ", "\n")
    rows = {"as drawn": draw_shots(number)}
    rows |= {wrap(METHODS[name].title): find_middle(name, number, frames) for name in names}
    text = puppets_picture.describe(draw_scene(SEED, number, DRAWING))
    with replace_atomically(picture) as part:
        puppets_picture.draw(rows, text).save(part, format="PNG")


def main(argv: Sequence[str]) -> None:
    task, out, frames = argv[1:], Path(OUT.value), Path(FRAMES.value)
    names = METHODS_WANTED.value or list(METHODS)
    make_folder(out)
    match task:
        case ["measure"]:
            for name in names:
                measure(name, SCENES.value, out, frames)
        case ["costs"]:
            write_costs(names, SCENE.value, out)
        case ["picture"]:
            write_picture(names, SCENE.value, frames, Path(PICTURE.value))
        case ["table"]:
            print(write_tables(out), end="")
        case _:
            raise InputError(f"found {task}, expected {TASKS}")


if __name__ == "__main__":
    METHODS_WANTED = flags.DEFINE_multi_enum("method", None, list(METHODS), "One; default: all.")
    SCENES = flags.DEFINE_integer("scenes", 32, "How many scenes are measured.", lower_bound=1)
    SCENE = flags.DEFINE_integer("scene", 14, "The scene that is timed or drawn.", lower_bound=0)
    OUT = flags.DEFINE_string("out", str(RESULTS), "Folder of the results.")
    FRAMES = flags.DEFINE_string("frames", "runs/baselines", "Folder that keeps sampled frames.")
    PICTURE = flags.DEFINE_string("picture", "docs/baselines.png", "The picture to draw, a PNG.")
    run(main, operand=TASKS)
