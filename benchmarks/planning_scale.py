"""Measures planning and opening of a set of the size of the paper's data, as each host of a big run does it.

    python -m benchmarks.planning_scale [--shots=1500000] [--shards=5000] [--experiment=configs/lct_3b.py]

The lengths are synthetic (`made_up_lengths.py`), some 330,000 scenes at the default. Every host makes the same plan, so
what one process needs here is what each of 64 hosts needs. Opening is measured on a set whose shards hold one small
scene each, since the number of files is what costs. Every line has seconds of CPU time and of wall-clock time, and the
memory that the process holds more than before.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from absl import app, flags

from benchmarks.made_up_lengths import draw_lengths
from benchmarks.memory import read_status
from lct_jax.backbones.registry import count_costs
from lct_jax.cli import load_config
from lct_jax.config import Config, freeze
from lct_jax.costs.flops import count_work
from lct_jax.data.planner import Planner
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.data.sets.records import PreparedSet, SetInfo, finish_set
from lct_jax.data.sets.shards import SceneRecord, ShotRecord, write_shard
from lct_jax.tensors import save_tensors

SHOTS = flags.DEFINE_integer("shots", 1_500_000, "Shots of the made-up table of lengths.")
SHARDS = flags.DEFINE_integer("shards", 5_000, "Shards of the set that is opened; 0 opens none.")
EXPERIMENT = flags.DEFINE_string(
    "experiment", "configs/lct_3b.py", "Config with model and budgets."
)
STEP = 100_000  # at which a run is resumed
WIDTH = 8  # of the made-up texts
Result = TypeVar("Result")


def measure(what: str, action: Callable[[], Result]) -> Result:
    """Calls `action`, prints a line of what it took, and returns its result."""
    before, cpu, wall = read_status("VmRSS"), time.process_time(), time.perf_counter()
    result = action()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = (read_status("VmRSS") - before) / 2**20
    print(f"{what:44} {cpu:8.2f} s CPU {wall:8.2f} s {grown:8.0f} MiB", flush=True)
    return result


def report_planning(lengths: LengthTable, config: Config) -> None:
    """Prints what a planner of the table and its pools take."""
    columns = [value for value in vars(lengths).values() if value is not None]
    size = sum(column.nbytes for column in columns) / 2**20
    print(f"{len(lengths.scene_split):,} scenes, {len(lengths.shot_text):,} shots: {size:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lengths.safetensors")
        save_tensors(path, vars(lengths))
        lengths = measure("read the table", lambda: LengthTable.load(path))
    cost = functools.partial(
        count_work, count_costs(config.network), context=config.training.context
    )
    planner = measure(
        "make the planner",
        lambda: Planner(lengths, config.data, patch=config.backbone.patch, cost=cost),
    )
    rows = config.data.rows * config.data.pool
    batches = measure(
        f"plan a pool of {config.data.pool} batches, {rows:,} rows", lambda: planner.batch(0)
    )
    samples = sum(map(len, batches))
    shots = sum(len(sample.shots) for row in batches for sample in row)
    measure(f"plan the pool of step {STEP:,}, to resume", lambda: planner.batch(STEP))
    print(f"a batch has {samples} samples and {shots} shots: reads of all hosts in a step")


def write_made_up_set(folder: Path, shards: int) -> None:
    """Writes a set of so many shards, each with one scene of one shot."""
    clip = np.zeros((2, 2, 2, 4), np.float32)
    text = np.zeros((3, WIDTH), np.float32)
    shot = ShotRecord((clip,), (clip[:1],), text, "", 5)
    scene = SceneRecord("a scene", "train", text, text, "", "", [shot])
    write = functools.partial(
        write_shard, film="a film", credit="", size=(16, 16), empty=1, aspect_error=0.0
    )
    write(folder / "shards" / "0", [scene])
    first = folder / "shards" / "0"
    for number in range(1, shards):
        other = folder / "shards" / str(number)
        other.mkdir()
        for file in first.iterdir():
            os.link(file, other / file.name)
    info = SetInfo("made up", "made up", 4, WIDTH, 16, 16, 12.0, text[:1])
    measure(
        "write card and table", lambda: finish_set(folder, list(map(str, range(shards))), info=info)
    )


def report_opening(shards: int) -> None:
    """Prints what opening a set of so many shards takes, and reading each of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_made_up_set(folder, shards)
        prepared = measure(f"open a set of {shards:,} shards", lambda: PreparedSet(folder))
        order = np.random.default_rng(0).permutation(shards)
        measure("read a shot of each shard", lambda: [prepared.read_shot(int(n)) for n in order])
        files = len(os.listdir("/proc/self/fd"))
        print(f"files that are open then: {files:,}")


def main(argv: Sequence[str]) -> None:
    del argv
    report_planning(draw_lengths(SHOTS.value), freeze(load_config(EXPERIMENT.value)))
    if SHARDS.value:
        report_opening(SHARDS.value)


if __name__ == "__main__":
    app.run(main)
