"""The check for GPUs at tiny sizes on the CPU: every part works there, and a part that fails is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.programs]


def run_check(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command where JAX finds the CPU alone."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", "--tiny", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def ask(part: str) -> dict:
    """Returns the answer of a part alone."""
    done = run_check(f"--part={part}")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1].removeprefix("answer: "))


def test_kernels_are_held_to_the_reference_and_timed_beside_pytorch():
    held = ask("hold")
    assert set(held["chunked, causal"]) == {"value", "dq", "dk", "dv"}
    assert 0 < max(held["chunked, full"].values()) < 2e-2
    timed = ask("attention")
    for name in ("ours, full", "ours, causal", "PyTorch, full"):
        assert timed[f"256 tokens, {name}"]["both, TFLOP/s"] > 0
    (tuned,) = ask("tune").values()
    assert tuned["forward, s"] > 0


def test_models_are_trained_and_sampled_beside_the_plan():
    trained = ask("train")["tiny"]
    assert trained["tokens"] == 9 * 4 + 1 + 10 * 4
    assert trained["step, s"] > 0 and trained["planned, GiB"] > 0
    sampled = ask("sample")
    assert sampled["joint"]["of joint"] == 1.0
    # Joint, every shot sees nine; shot after shot, the shots before it are computed again; cached, they are not.
    counted = {mode: sampled[mode]["of joint, counted"] for mode in ("autoregressive", "causal")}
    assert 4.5 < counted["autoregressive"] < 5.0 and counted["causal"] < 1.5


def test_time_that_runs_out_ends_a_part_and_is_told_of():
    done = run_check("--parts=hold,train", "--seconds=0.1")
    assert done.returncode == 2
    assert done.stdout.count("failed: no time was left") == 2
    assert "error: these parts failed: hold, train" in done.stderr
