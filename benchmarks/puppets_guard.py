r"""Does a short run still learn what shots have to do with each other? A check of the whole path, end to end.

    python -m benchmarks.puppets_guard --out=runs/guard                            # as it is
    python -m benchmarks.puppets_guard --out=runs/guard --broken=attention,rope    # and as it must not pass

Puppet scenes are made, the shipped single-shot base is tuned on them for some minutes, and scenes sampled jointly are
measured: each by the program that users run. The slow tests hold two measures to `FLOORS`. Faults are those of
`benchmarks/broken.py`. A run that is done is not made again.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/puppets"
CONFIG = "configs/puppets.py"
SCENES, STEPS, SAMPLED = 600, 250, 10
SHARED = ("agrees/sky", "agrees/ground")
MEASURES = ("sky and ground agree", *SHARED, "environment agrees", "who", "framing")
# Pairs of shots that agree on a sky or a ground that no prompt tells (chance is 0.25), and shots that show as many as
# they should. What a whole model reaches, and which fault falls below which: docs/ablations.md.
FLOORS = {"sky and ground agree": 0.75, "who": 0.6}


def run_guard(folder: Path, *, broken: str = "") -> dict[str, float]:
    """Trains and samples in a folder; returns the share of every measure, not a number where nothing could be told."""
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
        *program, "lct_jax.puppets.evaluate", f"--checkpoint={workdir}", f"--name={name}",
        "--rows=joint", f"--scenes={SAMPLED}", f"--out={table}",
    )  # fmt: skip
    shares = json.loads((table / f"{name}.joint.json").read_text())["shares"]
    right = sum(shares[m]["count"] * (shares[m]["value"] or 0.0) for m in SHARED)
    told = sum(shares[m]["count"] for m in SHARED)
    found = {m: share["value"] for m, share in shares.items()}
    found["sky and ground agree"] = right / told if told else None
    return {measure: math.nan if found[measure] is None else found[measure] for measure in MEASURES}


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def main(argv: Sequence[str]) -> None:
    del argv
    names = [name for name in BROKEN.value if name] or [""]
    print(f"| | {' | '.join(MEASURES)} |")
    print("|---" * (len(MEASURES) + 1) + "|")
    for name in names:
        shares = run_guard(Path(OUT.value), broken=name)
        cells = " | ".join(f"{share:.2f}" for share in shares.values())
        print(f"| {name or 'as it is'} | {cells} |", flush=True)


if __name__ == "__main__":
    OUT = flags.DEFINE_string("out", None, "Folder of runs and results.", required=True)
    BROKEN = flags.DEFINE_list("broken", [], "Faults to run with, of benchmarks/broken.py.")
    app.run(main)
