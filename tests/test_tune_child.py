"""A stage of `lct_jax.tune` as a child: exit codes, signals, and no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lct_jax.tune.child import run_child

pytestmark = pytest.mark.programs
ROOT = Path(__file__).parents[1]
PARENT = """
import sys
from lct_jax.tune.child import run_child
ended = run_child([sys.executable, "-c", sys.argv[1]])
print(ended.code, ended.stopped, flush=True)
"""
CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)],
)
def test_the_exit_code_is_that_of_the_child(code, expected):
    assert run_child([sys.executable, "-c", code]) == (expected, False)


def start_parent() -> tuple[subprocess.Popen[str], int]:
    """Returns a parent whose child has started, and the child's number."""
    parent = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PARENT, CHILD],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 5), (signal.SIGINT, 130)])
def test_a_signal_is_handed_on_and_the_parent_waits(number, code):
    parent, _ = start_parent()
    with parent:
        parent.send_signal(number)
        said = parent.communicate(timeout=30)[0]
    # Python ends itself by SIGINT where nothing catches it.
    assert said.split() == [str(code), "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_a_killed_parent_leaves_no_child():
    parent, child = start_parent()
    with parent:
        parent.kill()
    deadline = time.monotonic() + 30
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for yet has ended too.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
