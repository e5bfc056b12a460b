"""Real runs of two processes equal one process, end together, and resume on any number of processes and devices."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from process_pair import (
    PATIENCE,
    Pair,
    last_line,
    run_alone,
    start_pair,
)
from shared_folder import make_once
from test_resume import finished, read_metrics, read_state, reported
from tiny_film import shared_film, start_program, train_arguments

from lct_jax.distributed.peers import AGAIN, EXIT_LOST
from lct_jax.training.state import TrainState

pytestmark = [pytest.mark.slow, pytest.mark.programs]

STEPS = 18
MEASURED = ("loss", "gradient_norm", "held_out/loss")
SEQ = "--config.compute.seq_shards=2"
# Evaluation changes no state, and compiling it takes time.
PLAIN = "--config.training.eval_batches=0"


def arguments(workdir: Path) -> list[str]:
    return [*train_arguments(shared_film(), workdir), f"--config.training.steps={STEPS}"]


def one_process_run() -> Path:
    """Returns the work folder of a run of one process and one device."""
    return make_once("alone", _train_alone)


def _train_alone(workdir: Path) -> None:
    result = run_alone(*arguments(workdir))
    assert result.code == 0, result.stderr


def two_process_run() -> Path:
    """Returns the work folder of a run of two processes without interruption."""
    return make_once("together", lambda workdir: check_done(start_pair(*arguments(workdir))))


def check_done(pair: Pair) -> None:
    for result in pair.wait():
        assert result.code == 0, result.stderr


def check_same(workdir: Path, other: Path, *, tolerance: float) -> None:
    """Checks that final states agree to a tolerance; 0 means bit for bit.

    Otherwise parameters, EMA, guard and each moment of the optimiser differ by at most that share of their norm.
    Numbers are not compared one by one: where a gradient is zero but for rounding, Adam makes a step of full size in
    either direction, and which numbers those are depends on the processor.
    """
    found, expected = read_state(workdir), read_state(other)
    assert int(found.step) == STEPS
    if tolerance == 0:
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        return
    parts = parts_of(expected)
    apart = jax.tree.map(jnp.subtract, parts_of(found), parts)
    for name, part in parts.items():
        assert optax.tree.norm(apart[name]) <= tolerance * optax.tree.norm(part), name


def parts_of(state: TrainState) -> dict[str, Any]:
    """Returns the parts of a training state that are compared as one vector each."""
    moments = {name: optax.tree.get(state.opt_state, name) for name in ("mu", "nu")}
    return {"params": state.params, "ema": state.ema, "guard": state.guard, **moments}


def check_reports(workdir: Path, other: Path, *, tolerance: float) -> None:
    """Checks that reports name the same steps, each once, and agree; of a run without evaluation only losses are
    compared.
    """
    evaluated = any("held_out/loss" in line for line in read_metrics(workdir))
    found, expected = (
        [
            {name: line[name] for name in ("step", *MEASURED) if name in line}
            for line in lines
            if evaluated or "loss" in line
        ]
        for lines in (read_metrics(workdir), read_metrics(other))
    )
    assert [sorted(line) for line in found] == [sorted(line) for line in expected]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(list(mine.values()), list(theirs.values()), rtol=tolerance)


def test_training_on_two_processes_equals_one():
    check_reports(two_process_run(), one_process_run(), tolerance=1e-6)
    check_same(two_process_run(), one_process_run(), tolerance=1e-5)
    assert finished(two_process_run()) == finished(one_process_run()) == [15, 18]
    assert (two_process_run() / "codec.safetensors").is_file()


def test_two_processes_may_hold_the_tokens_of_the_same_rows(tmp_path):
    check_done(start_pair(*arguments(tmp_path), SEQ))
    check_reports(tmp_path, one_process_run(), tolerance=1e-6)
    check_same(tmp_path, one_process_run(), tolerance=1e-5)


def test_killed_or_preempted_processes_end_the_others_and_resume(tmp_path):
    work = tmp_path / "run"

    pair = start_pair(*arguments(work), PLAIN)
    pair.wait_until(lambda: finished(work))
    pair.processes[1].kill()
    first, _ = pair.wait()
    why = f"process 1 on {socket.gethostname()} is gone: it ended without a word{AGAIN}"
    assert (first.code, last_line(first)) == (EXIT_LOST, f"process 0/2: error: {why}")
    assert "Traceback" not in first.stderr
    saved = max(finished(work))
    assert saved in (3, 6)  # so at least ten steps are left
    shutil.copytree(work, tmp_path / "for_one")

    pair = start_pair(*arguments(work), PLAIN)
    pair.wait_until(lambda: max(finished(work)) > saved)
    pair.processes[1].send_signal(signal.SIGTERM)
    check_done(pair)
    assert max(finished(work)) == reported(work) > saved  # all saved the same step, and ended

    check_done(start_pair(*arguments(work), PLAIN))
    check_same(work, two_process_run(), tolerance=0)
    check_reports(work, two_process_run(), tolerance=0)

    result = run_alone(*arguments(tmp_path / "for_one"), PLAIN)  # two processes' checkpoint, on one
    assert result.code == 0 and "going on from step" in result.stdout, result.stderr
    check_same(tmp_path / "for_one", two_process_run(), tolerance=1e-5)


def test_a_checkpoint_resumes_on_other_processes_and_meshes(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    process = start_program(*arguments(begun), PLAIN)
    deadline = time.monotonic() + PATIENCE
    while not finished(begun):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert max(finished(begun)) <= STEPS - 10
    shutil.copytree(begun, tmp_path / "mesh")

    check_done(start_pair(*arguments(begun), PLAIN))
    check_same(begun, one_process_run(), tolerance=1e-5)

    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    result = run_alone(*arguments(tmp_path / "mesh"), SEQ, PLAIN)
    assert result.code == 0, result.stderr
    check_same(tmp_path / "mesh", one_process_run(), tolerance=1e-5)
