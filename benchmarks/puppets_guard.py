r"""Checks end to end that a short run still learns the relations between shots.

    python -m benchmarks.puppets_guard --out=runs/guard                            # without faults
    python -m benchmarks.puppets_guard --out=runs/guard --broken=attention,rope    # and with faults, which must fail

Puppet scenes are made, the shipped single-shot base is tuned on them for some minutes, and scenes sampled jointly are
measured, each by the program that users run. The slow tests compare the results with `FLOORS` and `CEILINGS`. The
faults are those of `benchmarks/broken.py`. A run that is done is not repeated.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/puppets"
CONFIG = "configs/puppets.py"
SCENES, STEPS, SAMPLED = 600, 250, 10
SHARED = ("agrees/sky", "agrees/ground")
LOSS = "loss_by_time/0.1-0.2"
MEASURES = ("sky and ground agree", *SHARED, "environment agrees", "who", "framing", LOSS)
# The measures are pairs of shots that agree on a sky or a ground that no prompt states (chance is 0.25), shots that
# show the requested number of characters, and the loss of shots with little noise. docs/ablations.md has the values of
# a model without faults, and which fault fails by which measure.
FLOORS = {"sky and ground agree": 0.75, "who": 0.6}
CEILINGS = {LOSS: 0.6}
# The loss is a mean over this many last reports, of ten steps each.
REPORTS = 10


def run_guard(folder: Path, *, broken: str = "") -> dict[str, float]:
    """Trains and samples in a folder; returns every measure, which is not a number where no case could be read."""
    python = [sys.executable, "-m"]
    program = [*python, "benchmarks.broken", broken] if broken else python
    name = broken or "whole"
    data, workdir, table = folder / "data", folder / name, folder / "table"
    _run(
        *python, "lct_jax.puppets.prepare", f"--config={CONFIG}", f"--scenes={SCENES}",
        "--shots=2-9", "--characters=2", f"--out={data}",
    )  # fmt: skip
    script = [*program, "train.py"] if broken else [sys.executable, "train.py"]
    _run(
        *script, f"--config={CONFIG}", f"--data={data}", f"--workdir={workdir}",
        f"--config.training.init_from={EXAMPLE / 'puppets_base.safetensors'}",
        f"--config.training.steps={STEPS}", "--config.training.eval_batches=0",
    )  # fmt: skip
    _run(
        *program, "lct_jax.evaluation.puppets", f"--checkpoint={workdir}", f"--name={name}",
        "--rows=joint", f"--scenes={SAMPLED}", f"--out={table}",
    )  # fmt: skip
    shares = json.loads((table / f"{name}.joint.json").read_text())["shares"]
    right = sum(shares[m]["count"] * (shares[m]["value"] or 0.0) for m in SHARED)
    told = sum(shares[m]["count"] for m in SHARED)
    found = {m: share["value"] for m, share in shares.items()}
    found["sky and ground agree"] = right / told if told else None
    found[LOSS] = read_loss(workdir / "metrics.jsonl")
    return {measure: math.nan if found[measure] is None else found[measure] for measure in MEASURES}


def read_loss(reports: Path) -> float:
    """Returns the mean of `LOSS` over the last reports of a run."""
    values = [report.get(LOSS) for report in map(json.loads, reports.read_text().splitlines())]
    return statistics.fmean([value for value in values if value is not None][-REPORTS:])


def find_failures(measured: Mapping[str, float]) -> list[str]:
    """Returns the measures outside their limits; one that is not a number is outside."""
    low = [name for name, floor in FLOORS.items() if not measured[name] >= floor]
    return low + [name for name, ceiling in CEILINGS.items() if not measured[name] <= ceiling]


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def main(argv: Sequence[str]) -> None:
    del argv
    print(f"| | {' | '.join(MEASURES)} | fails by |")
    print("|---" * (len(MEASURES) + 2) + "|")
    for name in ("", *BROKEN.value):
        measured = run_guard(Path(OUT.value), broken=name)
        cells = [f"{value:.2f}" for value in measured.values()]
        cells.append(", ".join(find_failures(measured)) or "nothing")
        print(f"| {name or 'as it is'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    OUT = flags.DEFINE_string("out", None, "Folder of runs and results.", required=True)
    BROKEN = flags.DEFINE_list("broken", [], "Faults to run with, of benchmarks/broken.py.")
    app.run(main)
