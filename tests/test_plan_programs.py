"""`python -m lct_jax.plan` as a user runs it; a slow test begins to compile the 3B step with the TPU compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.exposed_collectives import Reader, make_plan
from lct_jax.plan.refine import compile_step

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[1]


def run_plan(*arguments: str, config: str = "lct_3b") -> subprocess.CompletedProcess[str]:
    """Runs the program in a process of its own, without the flags that tests give to JAX."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(
        [sys.executable, "-m", "lct_jax.plan", f"--config=configs/{config}.py", *arguments],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
    )


def test_plan_prints_in_one_line_whether_it_fits():
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
def test_a_program_too_large_for_a_tpu_gives_a_result():
    """Four rows at once of which everything is kept, although the chip cannot hold it."""
    small = ("--config.backbone.depth=1", "--config.data.rows=4")
    large = ("--config.compute.remat=none", "--config.training.accumulate=1")
    done = run_plan("--topology=v6e:2x2", "--compile", *small, *large)
    assert done.returncode == 0, done.stderr
    [answer] = [line for line in done.stdout.splitlines() if line.startswith("does not fit: ")]
    assert float(answer.split()[3]) > 31.2
    assert "\n  fits here with --config" in done.stdout


@pytest.mark.slow
def test_a_lora_of_wan_on_two_long_shots_fits_on_one_small_chip():
    """A slice of one chip, which the compiler does not know by name; the inputs of blocks lie on its host."""
    done = run_plan(
        *("--topology=v5e:1x1", "--compile", "--json", "--shots=2", "--frames=81"),
        *("--config.data.rows=1", "--config.data.video_tokens=65536"),
        *("--config.data.text_tokens=2048", "--config.data.max_shots=2"),
        *("--config.prepare.height=480", "--config.prepare.width=832"),
        *("--config.training.accumulate=1", "--config.lora.rank=16"),
        config="wan_1_3b_lora",
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["fits"] and plan["remat"] == "offload_input"
    assert plan["memory"]["host"] == 30 * 65_536 * 1536 * 2
    assert plan["total"] < 12.0 * 2**30
    assert abs(plan["estimate"] / plan["total"] - 1) < 0.15


@pytest.mark.slow
def test_nine_full_shots_of_the_3b_model_fit_on_64_chips_and_keep_what_attention_gave(monkeypatch):
    """Memory and schedule as the compiler assigns them, of one topology."""
    monkeypatch.delenv("XLA_FLAGS")
    plan = make_plan("v5p_9")
    compiled = compile_step(plan)
    assert plan.config.compute.remat == "save_attention"
    assert len(plan.workload.scene.shots) == 9
    assert compiled.total <= plan.topology.chip.usable
    assert abs(plan.memory.total / compiled.total - 1) < 0.15
    kinds = Reader(compiled.text, plan).sum_kinds()
    assert {("all-gather", "data"), ("reduce-scatter", "data"), ("all-to-all", "seq")} <= set(kinds)
    # All exchanges are begun and ended apart.
    exchanges = kinds["all-to-all", "seq"]
    assert exchanges.apart == exchanges.sent > 0
