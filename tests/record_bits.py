"""Losses of twenty steps and latents of a scene in each mode, by the programs, compared with recorded ones.

    python tests/record_bits.py --out=DIR             says what differs from tests/recorded_bits.json, and by how much
    python tests/record_bits.py --out=DIR --record    writes that file anew, after a change that was made on purpose

What is compared is what a move of code must not change: every loss and gradient norm of `configs/film_tiny.py` and
`configs/puppets.py`, and the bits of latents sampled from the shipped weights of puppets. On the machine that recorded
them they are the same bits; another processor rounds otherwise, which `find_changes` allows for. The scenes have the
bits of before modules moved to rooms; the losses were recorded after the planner of batches was changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).with_name("recorded_bits.json")
PUPPETS = ROOT / "examples/puppets"
WEIGHTS = {
    "joint": PUPPETS / "puppets.safetensors",
    "autoregressive": PUPPETS / "puppets.safetensors",
    "causal": PUPPETS / "puppets_causal.safetensors",
}
TWENTY_STEPS = {
    "steps": 20,
    "warmup": 5,
    "log_every": 1,
    "eval_every": 20,
    "save_every": 20,
}
KEPT = ("loss", "gradient_norm", "held_out/loss")
SCRIPT = {
    "format": "lct_jax.script/1",
    "characters": {
        "1": "A tall red figure with a round hat.",
        "2": "A small blue figure.",
    },
    "environment": "Green ground under a yellow sky.",
    "story": "Character 1 meets Character 2.",
    "shots": [
        {"prompt": "Wide shot of Character 1 walking to the right.", "frames": 9},
        {"prompt": "Close-up of Character 2 jumping.", "frames": 5},
        {"prompt": "Wide shot of Character 1 and Character 2.", "frames": 9, "cut": False},
    ],
}


def prepare_film(folder: Path) -> None:
    """Prepares the film example in a folder."""
    _run(
        "-m",
        "lct_jax.data.prepare",
        scenes="examples/big_buck_bunny/scenes.json",
        config="configs/film_tiny.py",
        out=folder,
    )


def measure(folder: Path, film: Path) -> dict[str, Any]:
    """Prepares, trains and samples in a folder; returns what tests/recorded_bits.json holds.

    Args:
        folder: must be empty.
        film: what `prepare_film` made.
    """
    _run(
        "-m", "lct_jax.puppets.prepare", "--scenes=60", "--shots=2-9",
        config="configs/puppets.py", out=folder / "puppets_set",
    )  # fmt: skip
    base = PUPPETS / "puppets_base.safetensors"
    return {
        "film_tiny": _train(folder, "film_tiny", film),
        "puppets": _train(folder, "puppets", folder / "puppets_set", init_from=base),
        **{mode: _sample(folder, mode) for mode in WEIGHTS},
    }


def find_changes(found: Mapping[str, Any], recorded: Mapping[str, Any], *, to: float) -> list[str]:
    """Returns a line for each number that differs from the recorded one by more than a share `to` of it."""
    changes = []
    for name, numbers in recorded.items():
        for place, expected in numbers["numbers"].items():
            value = found[name]["numbers"].get(place)
            if value is None or not abs(value - expected) <= to * abs(expected):
                changes.append(f"{name}: {place}: found {value}, expected {expected}")
    return changes


def _train(folder: Path, config: str, data: Path, **training: object) -> dict[str, Any]:
    fields = {f"config.training.{name}": x for name, x in {**TWENTY_STEPS, **training}.items()}
    workdir = folder / config
    _run("train.py", config=f"configs/{config}.py", data=data, workdir=workdir, **fields)
    reports = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    numbers = {f"{r['step']}/{name}": r[name] for r in reports for name in KEPT if name in r}
    return _describe(numbers, json.dumps(numbers).encode())


def _sample(folder: Path, mode: str) -> dict[str, Any]:
    script, out = folder / "script.json", folder / mode
    script.write_text(json.dumps(SCRIPT))
    codec = PUPPETS / "patch_codec.safetensors"
    weights = {"checkpoint": WEIGHTS[mode], "codec": codec}
    _run("sample.py", script=script, mode=mode, out=out, steps=6, seed=3, **weights)
    latents = load_file(out / "latents.safetensors")
    numbers = {name: float(np.abs(latents[name]).mean()) for name in sorted(latents)}
    return _describe(numbers, b"".join(latents[name].tobytes() for name in sorted(latents)))


def _describe(numbers: Mapping[str, float], bits: bytes) -> dict[str, Any]:
    return {"bits": hashlib.sha256(bits).hexdigest()[:16], "numbers": dict(numbers)}


def _run(*program: str, **flags: object) -> None:
    """Runs a program of the repository on one CPU device, compiled as users compile it."""
    command = [sys.executable, *program, *(f"--{name}={value}" for name, value in flags.items())]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    prepare_film(arguments.out / "film_set")
    found = measure(arguments.out, arguments.out / "film_set")
    if arguments.record:
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())
    for name, value in recorded.items():
        same = found[name]["bits"] == value["bits"]
        print(f"{name}: {'the same bits' if same else 'other bits'}")
    print(*find_changes(found, recorded, to=0.0), sep="\n")


if __name__ == "__main__":
    main()
