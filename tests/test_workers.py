"""Tests worker processes that die, jobs that fail unexpectedly, and a parent that is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_film import ROOT

from lct_jax.data import workers
from lct_jax.data.runner import run_here, run_local
from lct_jax.errors import InputError


def work(job: object) -> object:
    """Doubles numbers; a text says how to fail."""
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "refuse":
        raise InputError("a.mp4: is empty (0 bytes)")
    if job == "assert":
        raise AssertionError
    if job == "memory":
        return os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"]
    if job == "key":
        raise KeyError("frames")
    if job == "thread":
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return 2 * job


def test_an_unexpected_error_is_the_result_of_its_job_alone():
    jobs = [1, "refuse", "assert", "key", "thread", 4]
    first, refused, failed, missing, scarce, last = run_here(work, jobs)
    assert (first, last) == (2, 8)
    assert str(refused) == "a.mp4: is empty (0 bytes)"
    assert str(failed).startswith("failed unexpectedly: AssertionError (test_workers.py, line ")
    assert str(missing).startswith("failed unexpectedly: KeyError: 'frames' (test_workers.py, line")
    assert isinstance(failed, InputError)
    assert "temporarily unavailable: no memory, or no thread, is left for this pro" in str(scarce)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_dies_costs_its_own_job(processes):
    results = list(run_local(work, [1, "die", 3, "die", "assert", 6], processes=processes))
    assert [r for r in results if not isinstance(r, InputError)] == [2, 6, 12]
    for place in (1, 3):
        assert str(results[place]).startswith("the process that worked on it died: ")
    assert "AssertionError" in str(results[4])
    assert list(run_local(work, [], processes=processes)) == []


@pytest.mark.programs
def test_workers_share_the_memory_of_a_gpu():
    assert list(run_local(work, ["memory"], processes=1)) == ["false"]


PARENT = """
import os, sys, time
from lct_jax.data.runner import run_local

def wait(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(600)

if __name__ == "__main__":
    list(run_local(wait, [sys.argv[1]] * 2, processes=2))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9), (signal.SIGINT, -2)],
)
def test_workers_end_with_their_parent(tmp_path, how, code):
    script, folder = tmp_path / "parent.py", tmp_path / "workers"
    script.write_text(PARENT)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, script, folder], env=environment, stderr=subprocess.PIPE
    )
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    workers = [int(path.name) for path in folder.iterdir()]
    parent.send_signal(how)
    _, said = parent.communicate(timeout=120)
    wait_until(lambda: not any(map(is_alive, workers)))
    assert parent.returncode == code
    # Nobody can tidy up after SIGKILL but Python's resource tracker, which says so.
    assert how == signal.SIGKILL or b"leaked" not in said


NEVER_BEGINS = """
import sys, time
from lct_jax.data import workers

if __name__ == "__mp_main__":
    time.sleep(600)

if __name__ == "__main__":
    workers._LONGEST_START = 2.0
    list(workers.run_in_workers(abs, [1, 2, 3], processes=2))
"""


@pytest.mark.slow
def test_a_worker_that_never_begins_is_an_error_and_not_waited_for(tmp_path):
    script = tmp_path / "never_begins.py"
    script.write_text(NEVER_BEGINS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert "InputError: --processes: a worker process did not begin in 2 s" in ended.stderr


def test_a_worker_that_is_closed_starts_no_process():
    """Of a process that begins behind the end nobody would know, and the program would wait for it."""
    worker = workers._Worker()
    worker.close()
    with pytest.raises(InputError, match="no worker process is started after the end"):
        worker.run(abs, -1)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
