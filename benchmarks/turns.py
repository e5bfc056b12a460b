"""Runs processes that take turns on one machine: each is a side of a comparison, and both run under the same load.

A worker reads one name of an action from each line, performs it and answers with a line of JSON: the seconds of the
clock and of the cores that it took, and how far the memory of its process rose meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.memory import forget_peak, read_status

Action = Callable[[], Mapping[str, float] | None]
Answer = dict[str, float]
Worker = subprocess.Popen


def start_worker(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Worker:
    """Starts a process that answers on a pipe."""
    environment = {**os.environ, **(env or {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def stop_worker(worker: Worker) -> None:
    """Lets a worker finish and waits for it."""
    worker.stdin.close()
    worker.wait()


def ask(worker: Worker, what: str) -> Answer:
    """Returns the answer of one turn of a worker."""
    worker.stdin.write(what + "\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("answer "):
            return json.loads(line.removeprefix("answer "))
    raise RuntimeError("a worker ended; its error stands above")


def serve(actions: Mapping[str, Action]) -> None:
    """Reads the names of actions from stdin and answers each, until stdin ends."""
    for line in sys.stdin:
        answer = take_turn(actions[line.strip()])
        print("answer " + json.dumps(answer), flush=True)


def take_turn(action: Action) -> Answer:
    """Returns the answer of an action, with "wall" and "cpu" seconds and "rise", bytes of memory."""
    release_memory()
    held = forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    more = action() or {}
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {**spent, "rise": read_status("VmHWM") - held, **more}


def release_memory() -> None:
    """Returns free memory to Linux, so that memory which is taken again is counted."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # the C library may lack it
        ctypes.CDLL(None).malloc_trim(0)
