"""Real runs of two processes: equal to one process, ended together, resumed on any number of processes and devices."""

from __future__ import annotations

import fcntl
import functools
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
    LOST_TIMEOUT,
    PATIENCE,
    Pair,
    last_line,
    run_alone,
    start_pair,
)
from test_resume import finished, read_metrics, read_state, reported
from tiny_film import shared_film, shared_folder, start_program, train_arguments

from lct_jax.hosts.coordinator import EXIT_LOST
from lct_jax.training.state import TrainState

pytestmark = pytest.mark.slow

STEPS = 18
MEASURED = ("loss", "gradient_norm", "held_out/loss")
HEARD_OF = (
    30  # seconds in which the others end after a loss that is seen at once; on a busy machine
)
AGAIN = "; the same command on all processes goes on from the last save"
SEQ = "--config.compute.seq_shards=2"
PLAIN = "--config.training.eval_batches=0"  # evaluation changes no state, and is compiled apart


def arguments(workdir: Path) -> list[str]:
    return [*train_arguments(shared_film(), workdir), f"--config.training.steps={STEPS}"]


@functools.cache
def alone() -> Path:
    """The work folder of a run of one process and one device."""
    workdir = shared_folder() / "alone"
    result = run_alone(*arguments(workdir))
    assert result.code == 0, result.stderr
    return workdir


@functools.cache
def together() -> Path:
    """The work folder of a run of two processes, done without interruption."""
    workdir = shared_folder() / "together"
    check_done(start_pair(*arguments(workdir)))
    return workdir


def check_done(pair: Pair) -> None:
    for result in pair.wait():
        assert result.code == 0, result.stderr


def check_same(workdir: Path, other: Path, *, tolerance: float) -> None:
    """The state at the end agrees to a tolerance; 0 is bit for bit.

    Otherwise parameters, EMA, guard and each moment of the optimiser differ by at most that share of their norm. Not
    number by number: where a gradient is zero but for rounding, Adam makes a step of full size in either direction, and
    which numbers those are depends on the processor.
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
    """The parts of a training state whose numbers are of a kind."""
    moments = {name: optax.tree.get(state.opt_state, name) for name in ("mu", "nu")}
    return {"params": state.params, "ema": state.ema, "guard": state.guard, **moments}


def check_reports(workdir: Path, other: Path, *, tolerance: float) -> None:
    """Reports name the same steps, each once, and agree; a run without evaluation is held against the losses alone."""
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


def test_two_processes_train_as_one_does():
    check_reports(together(), alone(), tolerance=1e-6)
    check_same(together(), alone(), tolerance=1e-5)
    assert finished(together()) == finished(alone()) == [15, 18]
    assert (together() / "codec.safetensors").is_file()


def test_two_processes_may_hold_the_tokens_of_the_same_rows(tmp_path):
    check_done(start_pair(*arguments(tmp_path), SEQ))
    check_reports(tmp_path, alone(), tolerance=1e-6)
    check_same(tmp_path, alone(), tolerance=1e-5)


def lose(pair: Pair, process: int, *, how: int) -> str:
    """Kills or stops one of two; the other ends in the stated time, and this is what it says."""
    pair.processes[process].send_signal(how)
    began = time.monotonic()
    other = pair.processes[1 - process]
    _, stderr = other.communicate(timeout=PATIENCE)
    stated = HEARD_OF + (LOST_TIMEOUT if how == signal.SIGSTOP else 0)
    assert time.monotonic() - began < stated
    pair.processes[process].kill()
    pair.processes[process].communicate()
    assert other.returncode == EXIT_LOST, stderr
    assert "Traceback" not in stderr, stderr
    return stderr.rstrip("\n").rpartition("\n")[2]


def gone(process: int, why: str) -> str:
    return (
        f"process {1 - process}/2: error: process {process} on {socket.gethostname()} is gone: "
        f"{why}{AGAIN}"
    )


def test_processes_that_die_hang_or_are_preempted_end_the_others_and_all_go_on(tmp_path):
    work = tmp_path / "run"

    pair = start_pair(*arguments(work), PLAIN)
    pair.wait_until(lambda: finished(work))
    assert lose(pair, 1, how=signal.SIGKILL) == gone(1, "it ended without a word")
    saved = max(finished(work))
    assert saved in (3, 6)  # so at least ten steps are left
    shutil.copytree(work, tmp_path / "for_one")

    pair = start_pair(*arguments(work), PLAIN)
    pair.wait_until(lambda: max(finished(work)) > saved)
    pair.processes[1].send_signal(signal.SIGTERM)
    check_done(pair)
    assert max(finished(work)) == reported(work) > saved  # all saved the same step, and ended

    pair = start_pair(*arguments(work), PLAIN)
    saved = max(finished(work))
    pair.wait_until(lambda: max(finished(work)) > saved)
    assert lose(pair, 0, how=signal.SIGKILL) == gone(0, "it ended without a word")

    pair = start_pair(*arguments(work), PLAIN)
    saved = max(finished(work))
    pair.wait_until(lambda: max(finished(work)) > saved)
    said = lose(pair, 1, how=signal.SIGSTOP)
    assert said == gone(1, f"no sign of it for {LOST_TIMEOUT} s")

    check_done(start_pair(*arguments(work), PLAIN))
    check_same(work, together(), tolerance=0)
    check_reports(work, together(), tolerance=0)

    result = run_alone(*arguments(tmp_path / "for_one"), PLAIN)  # two processes' checkpoint, on one
    assert result.code == 0 and "going on from step" in result.stdout, result.stderr
    check_same(tmp_path / "for_one", together(), tolerance=1e-5)


def test_a_checkpoint_of_one_device_goes_on_on_two_processes_and_on_another_mesh(
    tmp_path, monkeypatch
):
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
    check_same(begun, alone(), tolerance=1e-5)

    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    result = run_alone(*arguments(tmp_path / "mesh"), SEQ, PLAIN)
    assert result.code == 0, result.stderr
    check_same(tmp_path / "mesh", alone(), tolerance=1e-5)


def test_processes_that_are_not_alike_are_refused_on_both(tmp_path):
    pair = start_pair(*arguments(tmp_path), extra=((), ("--config.training.seed=1",)))
    said = "error: --config.training.seed: found 1 on process 1, expected 0 as on process 0"
    results = pair.wait()
    assert [result.code for result in results] == [2, 2]
    assert [last_line(r) for r in results] == [f"process {n}/2: {said}" for n in (0, 1)]


def test_what_is_wrong_on_one_process_ends_both_with_a_line(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first, second = start_pair(*arguments(tmp_path)).wait()
    said = f"{tmp_path}: another process is training into this folder"
    assert (first.code, second.code) == (2, 2)
    assert last_line(first) == f"process 0/2: error: {said}"
    assert last_line(second) == gone(0, f"it ended with: {said}")
