"""What ways to make the same scene cost, in FLOPs and seconds, and how their tables are written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.machine import find_machine
from lct_jax.backbones.registry import count_costs
from lct_jax.files import replace_atomically
from lct_jax.plan.scenes import count_full_pass, count_scene
from lct_jax.sampled_scene import SampledScene
from lct_jax.sampling.guidance import Branch, choose_branches
from lct_jax.sampling.schedule import Window

# How often a scene is sampled to time it: the first time compiles, and the least counts.
REPEATS = 2


def count_windows(scene: SampledScene) -> dict[str, float]:
    """Returns the windows of a scene, and the TFLOP of all its passes in all rows of guidance."""
    costs = count_costs(scene.generator.config.network)
    request, config = scene.request, scene.sampling
    if scene.mode == "causal":
        spent = count_scene(costs, request, config, "causal")
    else:
        spent = [
            count_full_pass(costs, request, config, window, choose_rows(scene, window))
            for window in scene.windows
        ]
    return {"windows": len(spent), "tflop": sum(cost.flops.total for cost in spent) / 1e12}


def choose_rows(scene: SampledScene, window: Window) -> tuple[Branch, ...]:
    """Returns the rows of a window's passes; other systems guide by text alone."""
    held = scene.mode == "autoregressive" and window.holds
    return choose_branches(scene.sampling, held=held, spread=1)


def take_time(makes: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Returns the seconds of processor time of a scene by every method, the least of some; methods take turns."""
    taken: dict[str, list[float]] = {name: [] for name in makes}
    for name in tqdm([*makes] * REPEATS, "seconds"):
        start = time.process_time()
        makes[name]()
        taken[name].append(time.process_time() - start)
    return {name: min(seconds) for name, seconds in taken.items()}


def keep_costs(out: Path, methods: Mapping[str, Mapping[str, float]]) -> None:
    """Writes `OUT/costs.json`: what every method costs, on which machine, at which load."""
    where = {"machine": find_machine(), "load": round(os.getloadavg()[0], 1)}
    with replace_atomically(out / "costs.json") as part:
        part.write_text(json.dumps({**where, "methods": methods}, indent=1) + "\n")


def write_spent(path: Path, titles: Mapping[str, str]) -> str:
    """Returns the table of a file of costs."""
    costs = json.loads(path.read_text())
    spent = {
        name: [str(cost["windows"]), f"{cost['tflop']:.3f}", f"{cost['seconds']:.1f}"]
        for name, cost in costs["methods"].items()
    }
    table = to_table("one scene", ["windows", "TFLOP", "seconds of processor time"], spent, titles)
    return f"{table}\nSeconds are of {costs['machine']}, at a load of {costs['load']}.\n"


def to_table(
    name: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    titles: Mapping[str, str],
) -> str:
    """Returns a table in Markdown, a row for each method under its title."""
    titled = ([titles[method], *cells] for method, cells in rows.items())
    lines = [[name, *columns], ["---"] * (len(columns) + 1), *titled]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
