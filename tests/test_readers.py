"""Tests reader processes of batches that die, that never begin, or whose parent is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_workers import is_alive, wait_until
from tiny_film import ROOT

from lct_jax.data import readers
from lct_jax.errors import InputError

pytestmark = pytest.mark.slow

# `__mp_main__` is the name of this script in the reader processes.
READ = """
import multiprocessing, os, sys, time
from absl import flags

if __name__ == "__mp_main__" and sys.argv[2] == "never begins":
    time.sleep(600)

import grain
import numpy as np
from lct_jax.config import DataConfig
from lct_jax.data import readers

def main(how):
    readers._LONG, readers._TOO_LONG = (1.0, 3.0) if how == "never begins" else (60.0, 60.0)
    stop = 5 if how == "ends" else 10**6
    stream = grain.MapDataset.range(stop).map(lambda number: np.full(10**6, number))
    stream = stream.to_iter_dataset(grain.ReadOptions(num_threads=1))
    for batch in readers.read_in_processes(stream, DataConfig(workers=2, prefetch=2)):
        number = batch[-1]
        if number == 4 and how == "dies":
            multiprocessing.active_children()[0].kill()
        if number == 4 and how == "parent is killed":
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            time.sleep(600)
    # A program has something to do after its last batch, which it still holds.
    time.sleep(2)
    print(batch[0])

if __name__ == "__main__":
    flags.FLAGS(sys.argv[:1])
    main(sys.argv[2])
"""


def start(folder: Path, how: str) -> subprocess.Popen:
    script = folder / "reads.py"
    script.write_text(READ)
    return subprocess.Popen(
        [sys.executable, script, "--", how],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("dies", "data.workers: a process that reads batches ended with exit code -9"),
        ("never begins", "data.workers: a process that reads batches gave none in 3 s"),
    ],
)
def test_a_reader_that_dies_or_never_begins_is_named_in_one_line(tmp_path, how, expected):
    _, said = start(tmp_path, how).communicate(timeout=300)
    assert f"InputError: {expected}" in said
    assert "fewer data.workers need less memory" in said
    # On a busy machine it looks a second later.
    assert bool(re.search(r"gave none for \d+ s\n", said)) == (how == "never begins")


def test_readers_leave_no_shared_memory_behind(tmp_path):
    assert start(tmp_path, "ends").communicate(timeout=300) == ("4\n", "")


def test_readers_end_with_a_parent_that_is_killed(tmp_path):
    parent = start(tmp_path, "parent is killed")
    numbers = [int(number) for number in parent.stdout.readline().split()]
    assert len(numbers) == 2 and all(map(is_alive, numbers))
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=300)
    wait_until(lambda: not any(map(is_alive, numbers)))


def test_other_errors_of_reading_stay_what_they_are():
    watch = readers._Watch(2)
    watch.end()
    error = RuntimeError("found a bug")
    assert readers._explain(error, watch) is error
    assert isinstance(readers._explain(RuntimeError("can't start new thread"), watch), InputError)
