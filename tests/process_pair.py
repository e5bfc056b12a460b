"""Two processes of one program on this machine, joined over a free port."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tiny_film import Result, start_program

# Seconds to wait for a condition in a process, on a machine that does other work too.
PATIENCE = 900
# The --lost_timeout of these runs, in seconds: a busy machine sends a heartbeat within it.
LOST_TIMEOUT = 20


def find_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def name_process(port: int, process: int, *, join_timeout: float = PATIENCE) -> list[str]:
    """Returns the flags of one of two processes."""
    return [
        f"--coordinator=127.0.0.1:{port}",
        "--processes=2",
        f"--process_id={process}",
        f"--join_timeout={join_timeout:g}",
        f"--lost_timeout={LOST_TIMEOUT}",
    ]


@dataclass
class Pair:
    """Two running processes."""

    processes: tuple[subprocess.Popen[str], ...]

    def wait(self) -> list[Result]:
        """Returns how both ended, with their last lines of stderr."""
        results = []
        for process in self.processes:
            stdout, stderr = process.communicate(timeout=PATIENCE)
            results.append(Result(process.returncode, stdout, stderr))
        return results

    def wait_until(self, due: Callable[[], object]) -> None:
        """Returns when a condition holds; fails where a process has ended before."""
        deadline = time.monotonic() + PATIENCE
        while not due():
            assert time.monotonic() < deadline, "the processes are stuck"
            assert all(process.poll() is None for process in self.processes), self.wait()
            time.sleep(0.002)


def run_alone(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Runs a program as one process to its end."""
    [result] = Pair((start_program(*arguments, environment=environment),)).wait()
    return result


def start_pair(*arguments: str, extra: Sequence[Sequence[str]] = ((), ())) -> Pair:
    """Starts a program twice, as processes 0 and 1, with arguments of both and extra ones of each."""
    port = find_port()
    return Pair(
        tuple(
            start_program(*arguments, *name_process(port, process), *extra[process])
            for process in (0, 1)
        )
    )


def last_line(result: Result) -> str:
    """Returns the last line that a process writes on stderr."""
    return result.stderr.rstrip("\n").rpartition("\n")[2]
