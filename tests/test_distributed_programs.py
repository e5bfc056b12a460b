"""Rows of the table in docs/hosts.md with real processes of a small program: the last line and the exit code."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from process_pair import LOST_TIMEOUT, PATIENCE, Pair, find_port, name_process, run_alone
from tiny_film import start_program

from lct_jax.distributed.peers import AGAIN

pytestmark = [pytest.mark.slow, pytest.mark.programs]

PROGRAM = str(Path(__file__).with_name("small_program.py"))
HOST = socket.gethostname()
# The program is not in the root, so it finds the package by this.
PATHS = {"PYTHONPATH": "."}


def start(ready: Path, *acts: str, extra: tuple[str, ...] = ()) -> Pair:
    """Starts two processes; `extra` are arguments of the second one, which come last."""
    port = find_port()
    more = ((), extra)
    return Pair(
        tuple(
            start_program(
                PROGRAM, act, *name_process(port, process), f"--ready={ready}", *more[process],
                environment=PATHS,
            )
            for process, act in enumerate(acts)
        )
    )  # fmt: skip


def check_ends(pair: Pair, *ends: tuple[int, str] | None) -> None:
    """Checks the exit codes and the whole stderr of the processes whose ends are given."""
    for process, (result, end) in enumerate(zip(pair.wait(), ends, strict=True)):
        if end is not None:
            code, said = end
            line = f"process {process}/2: error: {said}\n" if said else ""
            assert (result.code, result.stderr.lstrip("\n")) == (code, line)


def gone(process: int, why: str) -> str:
    return f"process {process} on {HOST} is gone: {why}{AGAIN}"


def find_child(pair: Pair, process: int) -> int:
    """Returns the child that a started process runs."""
    parent = pair.processes[process].pid
    [child] = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


def wait_for_end(child: int) -> None:
    """Returns when a process has ended, whose parent is not this process."""
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_all(pair: Pair, ready: Path, *acts: str) -> None:
    pair.wait_until(lambda: all(Path(f"{ready}.{act}").exists() for act in acts))


def test_only_process_0_prints_and_the_exit_code_is_the_programs(tmp_path):
    pair = start(tmp_path / "a", "return", "return")
    first, second = pair.wait()
    assert (first.code, first.stderr, second.code, second.stderr) == (0, "", 0, "")
    said = [r.stdout.replace("\n", " ").count("said by return") for r in (first, second)]
    assert said == [1, 0]
    check_ends(start(tmp_path / "b", "stop", "stop"), (0, ""), (0, ""))


def test_an_error_on_one_process_ends_the_others_with_the_same_code(tmp_path):
    wrong = "--data: found nothing, expected a set"
    pair = start(tmp_path / "a", "refuse", "wait")
    check_ends(pair, (2, wrong), (2, gone(0, f"it ended with: {wrong}")))
    first, second = start(tmp_path / "b", "wait", "break").wait()
    said = "ZeroDivisionError: one by none"
    assert (first.code, second.code) == (1, 1)
    assert first.stderr.lstrip("\n") == (
        f"process 0/2: error: {gone(1, f'it ended with: {said}')}\n"
    )
    assert second.stderr.startswith("Traceback")
    assert second.stderr.endswith(f"{said}\nprocess 1/2: error: {said}\n")


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_ends_the_others_at_once(tmp_path, lost):
    acts = ("wait", "sleep")
    pair = start(tmp_path / "a", *acts)
    wait_for_all(pair, tmp_path / "a", *acts)
    child = find_child(pair, lost)
    pair.processes[lost].kill()
    ends = [(3, gone(lost, "it ended without a word"))] * 2
    ends[lost] = None
    check_ends(pair, *ends)
    wait_for_end(child)


def test_a_process_that_is_killed_while_it_waits_for_others_leaves_no_child_behind(tmp_path):
    port = find_port()
    pair = Pair((start_program(PROGRAM, "return", *name_process(port, 0), environment=PATHS),))
    pair.wait_until(lambda: is_open(port))
    child = find_child(pair, 0)
    pair.processes[0].kill()
    pair.wait()
    wait_for_end(child)


def test_processes_without_heartbeats_are_lost_after_the_timeout(tmp_path):
    acts, kinds = ("wait", "sleep"), ("killed", "frozen", "parent_frozen")
    # All pairs start together, since most of the time is waiting.
    pairs = {kind: start(tmp_path / kind, *acts) for kind in kinds}
    for kind, pair in pairs.items():
        wait_for_all(pair, tmp_path / kind, *acts)
    parents = {kind: pair.processes[1].pid for kind, pair in pairs.items()}
    children = {kind: find_child(pair, 1) for kind, pair in pairs.items()}
    os.kill(children["killed"], signal.SIGKILL)
    for process in (parents["frozen"], children["frozen"], parents["parent_frozen"]):
        os.kill(process, signal.SIGSTOP)
    line = f"process 0/2: error: {gone(1, f'no sign of it for {LOST_TIMEOUT} s')}\n"
    for kind, pair in pairs.items():
        [first] = Pair(pair.processes[:1]).wait()
        assert (kind, first.code, first.stderr.lstrip("\n")) == (kind, 3, line)
    [named] = Pair(pairs["killed"].processes[1:]).wait()
    assert (named.code, named.stderr) == (3, f"process 1/2: error: ended by SIGKILL{AGAIN}\n")
    for process in (children["frozen"], parents["frozen"], parents["parent_frozen"]):
        os.kill(process, signal.SIGKILL)
    for kind in ("frozen", "parent_frozen"):
        pairs[kind].processes[1].communicate(timeout=PATIENCE)


def test_processes_with_different_flags_are_refused_on_both(tmp_path):
    pair = start(tmp_path / "a", "return", "return", extra=("--lost_timeout=21",))
    said = "--lost_timeout: found 21.0 on process 1, expected 20.0 as on process 0"
    check_ends(pair, (2, said), (2, said))
    pair = start(tmp_path / "b", "return", "return", extra=("--processes=3",))
    said = f"process 1 on {HOST} was started as one of 3, process 0 as one of 2"
    first, second = pair.wait()
    assert (first.code, second.code) == (2, 2)
    assert first.stderr == f"\nprocess 0/2: error: {said}\n"
    assert second.stderr == f"process 1/3: error: {said}\n"


def run_one(*arguments: str) -> tuple[int, str]:
    result = run_alone(PROGRAM, "return", *arguments, environment=PATHS)
    return result.code, result.stderr.lstrip("\n")


def test_a_process_without_peers_ends_within_the_join_timeout():
    port = find_port()
    first, second = (name_process(port, process, join_timeout=2) for process in (0, 1))
    assert run_one(*first) == (2, "process 0/2: error: process 1 of 2 did not come within 2 s\n")
    said = f"127.0.0.1:{port}: no coordinator reached within 2 s (Connection refused)"
    assert run_one(*second) == (
        2,
        f"process 1/2: error: {said}, expected process 0 to run there and the port to be open\n",
    )
    with socket.create_server(("", port)):
        said = f"127.0.0.1:{port}: the coordinator cannot listen there (Address already in use)"
        assert run_one(*first) == (2, f"process 0/2: error: {said}\n")
    said = "found no TPU pod, Slurm step, Open MPI job or Kubernetes job, expected one, or"
    assert run_one("--coordinator=auto") == (
        2,
        f"process: error: --coordinator=auto: {said} --coordinator=HOST:PORT --processes=N --process_id=I\n",
    )


def test_a_missing_flag_is_named():
    said = "--processes (or JAX_NUM_PROCESSES), --process_id (or JAX_PROCESS_ID): missing"
    assert run_one("--coordinator=127.0.0.1:1") == (2, f"error: {said} beside --coordinator\n")


def test_two_processes_with_one_number_are_refused():
    port = find_port()
    common = (f"--coordinator=127.0.0.1:{port}", "--processes=3", "--join_timeout=20")
    numbers = (0, 1, 1)
    processes = Pair(
        tuple(
            start_program(PROGRAM, "return", *common, f"--process_id={n}", environment=PATHS)
            for n in numbers
        )
    )
    results = processes.wait()
    assert [result.code for result in results] == [2, 2, 2]
    absent = "one process or more of 3 did not come within 20 s"
    twice = "two processes were started as process 1"
    said = sorted(result.stderr.strip().partition("error: ")[2] for result in results)
    assert said == [absent, absent, twice]
