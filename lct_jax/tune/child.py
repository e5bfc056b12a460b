"""Runs a command as a child that gets this process's output and signals, and that does not outlive it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

# On Linux the kernel kills the child with this process (prctl's option 1 is PR_SET_PDEATHSIG), so that the same command
# can go on at once. The child sets that itself, since a function between fork and exec is not safe beside threads.
_LAUNCH = (
    "import ctypes, os, signal, sys;"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        code: its exit code; 128 + n where signal n ended it.
        stopped: whether a signal to stop came meanwhile: a run that saves and ends then has exit code 0 as well.
    """

    code: int
    stopped: bool


def run_child(command: Sequence[str]) -> Ended:
    """Runs a command, a program by its whole path and its arguments, to its end.

    SIGTERM and Ctrl-C are handed on to it, and end it as they end the command by itself.
    """
    received: list[int] = []
    launch = [sys.executable, "-c", _LAUNCH] if sys.platform == "linux" else []
    # In a session of its own, the child gets Ctrl-C only once, from here.
    child = subprocess.Popen([*launch, *command], start_new_session=True)

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        child.send_signal(number)

    before = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ended(code if code >= 0 else 128 - code, bool(received))
