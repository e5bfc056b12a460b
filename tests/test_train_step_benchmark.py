"""Tests the benchmark of the training step: its cases, its tables from known answers, and a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from quick_compiler import FLAGS
from scenes import TINY

from benchmarks.step_cases import film_tiny, make_batch, make_case, mixed
from benchmarks.step_report import BEGIN, END, describe, describe_case, write_tables
from lct_jax.layout import GroupPlan, ScenePlan

ROOT = Path(__file__).parents[1]
SCENE = ScenePlan(2, (GroupPlan(3, (1, 2, 2)), GroupPlan(1, (2, 1, 3))))
ALONE = ScenePlan(None, (GroupPlan(4, (1, 1, 5)),))


def test_rows_of_film_tiny_are_full():
    case = film_tiny()
    assert (len(case.rows), case.video_tokens, case.text_tokens) == (2, 1126, 400)
    assert case.useful == case.tokens == 2 * 1526


def test_packed_and_padded_rows_hold_the_same_scenes():
    packed, padded = mixed()
    assert packed.scenes == padded.scenes and packed.count() == padded.count()
    assert packed.useful == padded.useful
    assert all(len(row) == 1 for row in padded.rows) and len(packed.rows) == 2
    assert packed.useful / packed.tokens > 0.85 > 0.5 > padded.useful / padded.tokens
    for case in (packed, padded):
        batch = make_batch(case)
        scene = [tokens.index.scene > 0 for tokens in (batch.video, batch.text)]
        assert sum(int(seen.sum()) for seen in scene) == case.useful


@pytest.mark.programs
@pytest.mark.slow
def test_the_command_compares_the_sides_and_prints_tables():
    """The case is tiny, with one turn: PyTorch's velocity and gradient must agree, or the command ends with an
    error."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--runs=tiny", "--turns=1"]
    options = ["--beside=eager", "--nokeep"]
    env = {**os.environ, "XLA_FLAGS": FLAGS}
    run = {"capture_output": True, "text": True, "cwd": ROOT, "env": env}
    done = subprocess.run([*command, *options], **run)
    assert done.returncode == 0, done.stderr
    assert "| tiny | PyTorch | " in done.stdout and "| tiny | attention | " in done.stdout


def test_rows_of_any_lengths_make_a_case():
    case = make_case(TINY, ((SCENE, ALONE), (ALONE,)))
    assert (case.video_tokens, case.text_tokens, case.slots, case.useful) == (16, 10, 4, 35)
    assert case.tokens == 2 * 26


def _answers(wall: float, **more: float) -> dict[str, list[float]]:
    """Returns three turns, of which one is disturbed and none are equal."""
    values = {"wall": wall, "cpu": 2 * wall, "rise": 1e6, **more}
    return {key: [value, 3 * value, 0.9 * value] for key, value in values.items()}


def test_tables_of_known_answers(tmp_path):
    def of_sides(ours: float, eager: float, compiled: float, **more: float):
        walls = {"ours": ours, "eager": eager, "compiled": compiled}
        return {side: _answers(wall, **more) for side, wall in walls.items()}

    case = {**describe_case(film_tiny()), "linear_flops": 30e9, "attention_flops": 10e9}
    case["parts"] = {
        "step": of_sides(2.0, 3.0, 2.5),
        "gradient": of_sides(1.75, 2.5, 2.0),
        "linear": of_sides(0.5, 1.0, 0.75),
        "attention": of_sides(1.0, 0.75, 0.75),
        "matmul": of_sides(1.0, 1.0, 1.0, gflops=100.0 / 3.0),
    }
    packed, padded = map(describe_case, mixed())
    packed["parts"] = {"step": {"ours": _answers(1.0)}}
    padded["parts"] = {"step": of_sides(3.0, 5.0, 4.0)}
    results = {
        "machine": "a machine",
        "load": {"film_tiny": 2.0},
        "cases": {"film_tiny": case, "packed": packed, "padded": padded},
    }
    text = describe(results)
    assert "| film_tiny | ours | 2.00 | 4.00 | 1 | 20 | 20% | 3 |" in text
    assert "| film_tiny | PyTorch, compiled | 2.50 | 5.00 | 1.25 (1.25) | 16 | 16% | 3 |" in text
    assert "| film_tiny | linear | 0.50 | 1.00 | 0.75 | 60% |" in text
    assert "| film_tiny | rest of the gradient | 0.25 | 0.75 | 0.50 |  |" in text
    assert "| film_tiny | optimiser and EMA | 0.25 | 0.50 | 0.50 |  |" in text
    useful = packed["useful_tokens"]
    assert f"| 1.00 | {useful:,} | 1 | 3 |" in text
    assert f"| 5.00 | {useful / 5:,.0f} | 5.00 (5.00) | 3 |" in text
    readme = tmp_path / "README.md"
    readme.write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    write_tables(readme, results)
    assert readme.read_text() == f"Before.\n{BEGIN}\n{text}\n{END}\nAfter.\n"
