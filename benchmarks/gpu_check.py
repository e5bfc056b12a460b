"""Checks and times this project on one GPU in under eight minutes: kernels, training steps and sampling.

    python -m benchmarks.gpu_check                     all parts; writes results/gpu_check.json
    python -m benchmarks.gpu_check --parts=hold,train  some of them
    python -m benchmarks.gpu_check --tiny              tiny sizes, on any machine, to see that everything works

It needs JAX for the GPU, grain, array_record and ml_collections; PyTorch is timed beside where it is installed.

- hold: every kernel against dense attention in float32, over scenes of random boundaries in bfloat16: values and
  gradients, as the largest difference over the largest number.
- attention: seconds and TFLOP/s of forward, and of forward and backward, beside PyTorch's
  `scaled_dot_product_attention` and cuDNN (`jax.nn.dot_product_attention`), for rows that hold one scene.
- train: twenty steps of two models over a scene of nine shots: MFU, and memory beside that of the plan.
- sample: a scene of nine shots jointly, shot after shot, and shot after shot with a cache: seconds, and their ratios
  beside those of the counted FLOPs.
- tune: blocks, warps and stages of the Triton kernel.

Each part is a process of its own, so that one that fails or takes too long leaves the others their turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Parts of one GPU's memory are taken as they are needed, since PyTorch works in the same process.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from absl import flags

from benchmarks import gpu_attention, gpu_model
from lct_jax.cli import run
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

RESULTS = Path(__file__).with_name("results") / "gpu_check.json"
# A part returns lines for people, and a dictionary for the file of results.
PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "hold": gpu_attention.hold,
    "attention": gpu_attention.time_attention,
    "train": gpu_model.train,
    "sample": gpu_model.sample,
    "tune": gpu_attention.tune,
}
# The last line of a part's output begins with this.
ANSWER = "answer: "

ONLY = flags.DEFINE_list("parts", list(PARTS), "What to do.")
TINY = flags.DEFINE_bool("tiny", False, "Tiny sizes, whose figures mean nothing.")
SECONDS = flags.DEFINE_float("seconds", 470.0, "Ends what is not finished by then.")
KEEP = flags.DEFINE_bool("keep", True, "Write results, unless sizes are tiny.")
PART = flags.DEFINE_enum("part", None, list(PARTS), "Do this alone (internal).")


def main(argv: Sequence[str]) -> None:
    del argv
    if PART.value:
        print(ANSWER + json.dumps(PARTS[PART.value](TINY.value)))
        return
    unknown = sorted({*ONLY.value} - {*PARTS})
    if unknown:
        raise InputError(f"--parts: found {unknown[0]!r}, expected some of {', '.join(PARTS)}")
    end = time.monotonic() + SECONDS.value
    results = {part: _ask(part, end - time.monotonic()) for part in PARTS if part in ONLY.value}
    if KEEP.value and not TINY.value:
        with replace_atomically(RESULTS) as unfinished:
            unfinished.write_text(json.dumps(results, indent=1) + "\n")
    failed = [part for part, found in results.items() if "failed" in found]
    if failed:
        raise InputError(f"these parts failed: {', '.join(failed)}")


def _ask(part: str, seconds: float) -> dict[str, Any]:
    """Returns the answer of a part, or why there is none, after printing it."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", f"--part={part}"]
    print(f"\n{part}", flush=True)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, f"--tiny={TINY.value}"],
            stdout=subprocess.PIPE,
            text=True,
            timeout=max(seconds, 1.0),
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = {"failed": "no time was left"}
    else:
        lines = done.stdout.splitlines()
        answers = [line.removeprefix(ANSWER) for line in lines if line.startswith(ANSWER)]
        found = json.loads(answers[-1]) if answers else {"failed": f"exit code {done.returncode}"}
    for name, value in found.items():
        print(f"  {name}: {value}")
    print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return found


if __name__ == "__main__":
    run(main)
