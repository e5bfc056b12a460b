"""Runs that are killed and started again, as real processes, end the same to the last bit."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from tiny_film import (
    CONFIG,
    Result,
    run_program,
    shared_film,
    shared_run,
    start_program,
    train_arguments,
)

from lct_jax.backbones.mmdit.names import decays
from lct_jax.backbones.registry import build_abstract
from lct_jax.data.sets.records import PreparedSet
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.report.meter import CLOCKED
from lct_jax.training.report.reporter import Reporter
from lct_jax.training.state import TrainState, init_state

PATIENCE = 300  # seconds to wait for something to happen in a process


def read_state(workdir: Path) -> TrainState:
    """Returns all of the last checkpoint, on one device."""
    shapes = build_abstract(CONFIG.network).params
    optimizer = make_optimizer(CONFIG.training, decays=decays)
    abstract = jax.eval_shape(lambda params: init_state(params, optimizer), shapes)
    here = SingleDeviceSharding(jax.devices()[0])
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), abstract
    )
    return Checkpoints(workdir).restore(placed)


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """Returns every report without the values that are measured with a clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in CLOCKED} for line in lines]


def check_same_end(workdir: Path) -> None:
    """Checks that state and reports equal those of the uninterrupted run, bit for bit."""
    found, expected = read_state(workdir), read_state(shared_run())
    assert int(found.step) == CONFIG.training.steps
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(
            np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32)
        ),
        found,
        expected,
    )
    assert read_metrics(workdir) == read_metrics(shared_run())
    assert not unfinished(workdir)
    assert finished(workdir) == finished(shared_run())


def unfinished(workdir: Path) -> list[str]:
    """Returns the checkpoints that are being written, or were when the process ended."""
    return [path.name for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp")]


def finished(workdir: Path) -> list[int]:
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def reported(workdir: Path) -> int:
    """Returns the last step that was reported."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def kill_when(workdir: Path, due: Callable[[], object]) -> bool:
    """Runs until a condition holds and then kills the run; returns False where the run ended before."""
    process = start_program(*train_arguments(shared_film(), workdir))
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not due():
        assert time.monotonic() < deadline, "the process is stuck"
        time.sleep(0.0005)
    running = process.poll() is None
    process.kill()
    _, stderr = process.communicate()
    assert running or process.returncode == 0, stderr
    return running


def finish(workdir: Path) -> Result:
    result = run_program(*train_arguments(shared_film(), workdir))
    assert result.code == 0, result.stderr
    return result


@pytest.mark.programs
def test_a_run_reports_every_step_once_and_keeps_the_last_checkpoints():
    steps = [line["step"] for line in read_metrics(shared_run()) if "loss" in line]
    assert steps == [2, 3, 4, 6, 8]  # every second, and where it is saved: every third and the last
    assert [line["step"] for line in read_metrics(shared_run()) if "held_out/loss" in line] == [
        4,
        8,
    ]
    assert finished(shared_run()) == [6, 8]


@pytest.mark.programs
def test_reports_have_rates_fill_and_losses_by_part():
    lines = [json.loads(line) for line in (shared_run() / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    for line in lines:
        assert 0 < line["fill"] <= 1 and 0 < line["time_fill"] <= 1
        assert line["tokens_per_second"] > 0 and line["steps_per_second"] > 0
        assert 0 < line["useful_flops_per_second"] < line["computed_flops_per_second"]
        assert "useful_mfu" not in line, "a CPU has no published peak"
        assert line["recompilations"] == 0
        for kind in ("time", "shot"):
            parts = [value for name, value in line.items() if name.startswith(f"loss_by_{kind}/")]
            assert (1 - 1e-5) * min(parts) <= line["loss"] <= (1 + 1e-5) * max(parts)  # rounded
    assert [("save_seconds" in line) for line in lines] == [False, False, True, False, True]
    assert {name for line in lines for name in line if name.startswith("loss_by_shot")} == {
        f"loss_by_shot/{number}" for number in (1, 2, 3)
    }


@pytest.mark.programs
def test_a_run_killed_between_and_during_saves_ends_bit_exactly(tmp_path):
    # Before the first checkpoint, in the middle of one, and between two.
    assert kill_when(tmp_path, lambda: reported(tmp_path) >= 2)
    assert reported(tmp_path) >= 2
    for _ in range(5):  # a checkpoint is quickly written: the kill may come too late
        assert kill_when(tmp_path, lambda: unfinished(tmp_path))
        if unfinished(tmp_path):
            break
    else:
        pytest.fail("no kill came in the middle of a save")
    saved = max(finished(tmp_path), default=0)
    result = finish(tmp_path)
    assert (f"going on from step {saved}" in result.stdout) == (saved > 0)
    assert "changed since" not in result.stdout
    check_same_end(tmp_path)


@pytest.mark.programs
def test_a_finished_run_is_unchanged_and_notices_another_set(tmp_path):
    before = (shared_run() / "metrics.jsonl").read_bytes(), finished(shared_run())
    other = shutil.copytree(shared_film().prepared, tmp_path / "other")
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"credit": "somebody else"}))
    (other / "checksums.json").unlink()  # it is another set, and not a damaged one
    arguments = [*train_arguments(shared_film(), shared_run()), f"--data={other}"]
    result = run_program(*arguments)
    assert result.code == 0, result.stderr
    assert "going on from step 8" in result.stdout
    found, expected = (PreparedSet(at).identity for at in (other, shared_film().prepared))
    assert f"changed since: prepared set '{found}' instead of '{expected}'" in result.stdout
    assert ((shared_run() / "metrics.jsonl").read_bytes(), finished(shared_run())) == before


def test_reports_later_than_the_checkpoint_are_dropped(tmp_path):
    """A line that a kill cut short is dropped too."""
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (2, 3, 3, 4)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 2, "lo']))
    reporter = Reporter(tmp_path, start=3, stop=8)
    reporter.write(4, {"loss": 0.5})
    reporter.close()
    steps = [line["step"] for line in read_metrics(tmp_path)]
    assert steps == [2, 3, 3, 4]
    assert read_metrics(tmp_path)[-1] == {"step": 4, "loss": 0.5}


@pytest.mark.programs
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_random_moments_ends_bit_exactly(tmp_path, seed):
    """The run is killed at random steps, after random delays that reach into saves, deletions and start-up."""
    rng, kills = random.Random(seed), 0
    while kills < 6:
        step, delay = rng.randrange(CONFIG.training.steps), rng.uniform(0, 0.3)
        if rng.random() < 0.3:
            step, delay = 0, rng.uniform(0, 4)  # while it starts, or restores
        reached: list[float] = []

        def due(step=step, delay=delay, reached=reached) -> bool:
            if not reached and reported(tmp_path) >= step:
                reached.append(time.monotonic())
            return bool(reached) and time.monotonic() > reached[0] + delay

        if not kill_when(tmp_path, due):
            break
        kills += 1
    assert kills >= 3
    saved = max(finished(tmp_path), default=0)  # only what came after it is done again
    assert (f"going on from step {saved}" in finish(tmp_path).stdout) == (saved > 0)
    check_same_end(tmp_path)
