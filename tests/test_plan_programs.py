"""`python -m lct_jax.plan` as a user runs it; and, marked slow, what the TPU compiler says of real steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A model of 28 million parameters on four chips: two over rows, two over tokens.
SMALL = [
    f"--config.{field}={value}"
    for field, value in {
        "model.width": 512,
        "model.depth": 2,
        "model.heads": 4,
        "model.text_width": 256,
        "data.rows": 4,
        "data.video_tokens": 8192,
        "data.text_tokens": 512,
        "data.groups": 8,
        "training.seq_shards": 2,
    }.items()
]


def run_plan(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, without the flags that tests give to JAX."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(
        [sys.executable, "-m", "lct_jax.plan", "--config=configs/lct_3b.py", *arguments],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
    )


def test_says_in_one_line_whether_it_fits_and_what_would_help():
    done = run_plan("--topology=v6e:2x2", "--shots=9")
    assert done.returncode == 0, done.stderr
    [answer] = [line for line in done.stdout.splitlines() if line.startswith("does not fit: ")]
    assert "of 31.2 GiB a device" in answer
    assert "  fits on v6e:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=v7:2x2"], "error: --topology: found 'v7:2x2', expected one of"),
        (["--topology=v6e:8x8", "--aspect=wide"], "error: --aspect: found 'wide'"),
        (["--topology=v6e:8x8", "--mode=joint", "--shots=12"], "joint sampling sees at most 9"),
    ],
)
def test_mistakes_are_single_lines(arguments, message):
    done = run_plan(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_small_step_and_its_splash_kernel_compile_for_a_tpu():
    done = run_plan("--topology=v6e:2x2", "--shots=1", "--frames=13", "--compile", "--json", *SMALL)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["fits"]
    check_estimate(plan)
    assert plan["kernels"] == ["splash_mha_dkv", "splash_mha_dq", "splash_mha_fwd"]
    # Four exchanges in each of two layers: forward, forward again and backward.
    exchanged = [c for c in plan["collectives"] if (c["kind"], c["axis"]) == ("all-to-all", "seq")]
    assert sum(c["count"] for c in exchanged) == 3 * 4 * 2


@pytest.mark.slow
def test_nine_full_shots_of_the_3b_model_fit_on_64_chips():
    done = run_plan(
        *("--topology=v5p:4x4x4", "--compile", "--json"),
        *("--config.training.seq_shards=8", "--config.training.accumulate=8"),
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["workload"]["scene"]["shots"] and plan["fits"]
    check_estimate(plan)


def check_estimate(plan: dict) -> None:
    """Within 15% of the compiled program."""
    assert plan["estimate"] == pytest.approx(plan["total"], rel=0.15)
