"""Compares the training step with the same MMDiT in PyTorch, on the CPU, in turn: time, memory, share of the peak.

    python -m benchmarks.train_step                 measures, writes results/train_step.json and the tables of README.md
    python -m benchmarks.train_step --runs=film_tiny --turns=9 --keep=false
    python -m benchmarks.train_step --describe      writes the tables again from existing results

The program needs `make install-parity`. Each side runs in a process of its own and works when it is its turn: this
project, PyTorch as it is, and PyTorch with its blocks by `torch.compile`. All start from the same weights, and
PyTorch's velocity and gradient are compared with this project's before anything is timed. Seconds are medians over
turns, by the clock and of all cores together; ratios are taken turn by turn, and their medians shown.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.machine import find_machine
from benchmarks.step_cases import CASES, Case
from benchmarks.step_report import describe, describe_case, write_tables
from benchmarks.turns import Action, Worker, ask, serve, start_worker, stop_worker
from lct_jax.cli import run
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

RESULTS = Path(__file__).with_name("results") / "train_step.json"
README = Path(__file__).with_name("README.md")
SIDES = ("ours", "eager", "compiled")
PARTS = ("step", "gradient", "attention", "linear", "matmul")
# Each run has, for each case, the sides and their parts. PyTorch's rows have one scene each, padded.
# This run only shows that everything works; its figures mean nothing.
RUNS = {
    "film_tiny": {"film_tiny": (SIDES, PARTS)},
    "width_512": {"width_512": (SIDES, PARTS)},
    "mixed": {"padded": (SIDES, ("step",)), "packed": (("ours",), ("step",))},
    "tiny": {"tiny": (SIDES, PARTS)},
}
# If all rows are equal, both sides can compute the same. In float32 they agree to this relative error.
CHECKED, FARTHEST = ("film_tiny", "width_512", "tiny"), 1e-3

ONLY = flags.DEFINE_list("runs", ["film_tiny", "width_512", "mixed"], "Which to measure.")
BESIDE = flags.DEFINE_list("beside", list(SIDES[1:]), "Sides; torch.compile needs a C++ compiler.")
TURNS = flags.DEFINE_integer("turns", 3, "Turns of each side, after one that warms up.")
KEEP = flags.DEFINE_bool("keep", True, "Write results and tables, instead of only printing them.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Only write the tables anew.")
WORKER = flags.DEFINE_enum("worker", None, SIDES, "Serve turns (internal).")
FOLDER = flags.DEFINE_string("folder", None, "Of the weights a worker starts from (internal).")


def measure(name: str, turns: int) -> dict[str, Any]:
    """Returns a run: for every case its sizes, and for every part and side the result of each turn."""
    sides = ("ours", *BESIDE.value)
    plan = {
        case: ([side for side in at if side in sides], parts)
        for case, (at, parts) in RUNS[name].items()
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.train_step", f"--runs={name}"]
        start = lambda side: start_worker([*command, f"--worker={side}", f"--folder={folder}"])
        workers = {"ours": start("ours")}
        for case, (at, _) in plan.items():
            if len(at) > 1:
                ask(workers["ours"], f"{case}/reference")
        workers |= {side: start(side) for side in sides[1:]}
        errors = {case: _check(workers, case) for case in plan if case in CHECKED}
        answers = _take_turns(workers, plan, turns)
        for worker in workers.values():
            stop_worker(worker)
    return {
        case: {**describe_case(CASES[case]()), "errors": errors.get(case), "parts": answers[case]}
        for case in plan
    }


def _take_turns(workers: dict[str, Worker], plan: dict[str, Any], turns: int) -> dict[str, Any]:
    """Returns the results of every turn, by case, part and side; the sides of a part follow each other directly."""
    kept: dict[str, Any] = {}
    for number in range(turns + 1):
        for case, (sides, parts) in plan.items():
            for part, side in itertools.product(parts, sides):
                answer = ask(workers[side], f"{case}/{part}")
                if number:  # the first one compiled
                    of_side = kept.setdefault(case, {}).setdefault(part, {}).setdefault(side, {})
                    for key, value in answer.items():
                        of_side.setdefault(key, []).append(value)
    return kept


def _check(workers: dict[str, Worker], case: str) -> dict[str, dict[str, float]]:
    """Returns how far PyTorch's velocity and gradient are from the reference."""
    errors = {}
    for side in [side for side in workers if side != "ours"]:
        answer = ask(workers[side], f"{case}/check")
        errors[side] = {key: answer[key] for key in ("velocity_error", "gradient_error")}
        for key, error in errors[side].items():
            if error > FARTHEST:
                raise InputError(f"{case}, {side}: found {key} {error:.1e}, expected {FARTHEST}")
    return errors


def serve_side(side: str, cases: Sequence[str], folder: Path) -> None:
    """Serves the parts of some cases as "case/part"; `ours` also writes the reference from which the others start."""
    actions: dict[str, Action] = {}
    for case in cases:
        path = folder / f"{case}.safetensors"
        for part, action in make_actions(side, CASES[case](), path).items():
            actions[f"{case}/{part}"] = action
    serve(actions)


def make_actions(side: str, case: Case, path: Path) -> dict[str, Action]:
    """Returns the actions of a side; PyTorch is imported only where it is needed."""
    from benchmarks.step_ours import TRAINING, Ours

    if side == "ours":
        ours = Ours(case)
        return {**ours.actions(), "reference": lambda: ours.save_reference(path)}
    from benchmarks.step_torch import Theirs

    return Theirs(case, TRAINING, weights=path, compiled=side == "compiled").actions()


def main(argv: Sequence[str]) -> None:
    del argv
    if WORKER.value:
        [name] = ONLY.value
        cases = [c for c, (sides, _) in RUNS[name].items() if WORKER.value in sides]
        return serve_side(WORKER.value, cases, Path(FOLDER.value))
    if DESCRIBE.value:
        return write_tables(README, json.loads(RESULTS.read_text()))
    results: dict[str, Any] = {"machine": find_machine(), "cases": {}, "load": {}}
    for name in ONLY.value:
        results["cases"] |= measure(name, TURNS.value)
        results["load"][name] = os.getloadavg()[0]  # of the last minute, this benchmark included
    print(describe(results))
    if KEEP.value:
        with replace_atomically(RESULTS) as unfinished:
            unfinished.write_text(json.dumps(results, indent=1) + "\n")
        write_tables(README, results)


if __name__ == "__main__":
    run(main)
