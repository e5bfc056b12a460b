"""The parent of a process of a distributed run turns every end of its child into one line and an exit code.

JAX reacts to a process that is absent or lost by aborting the others with a stack trace. So the program that was
started runs itself again as a child, forwards signals to it, holds back what JAX writes about its coordination service,
and reports in one line what that means. Parent and child send each other heartbeats over pipes, so that neither
outlives the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from lct_jax.distributed.peers import AGAIN, EXIT_LOST, describe_loss
from lct_jax.distributed.process_spec import ProcessSpec

# The environment variable that a child is known by; it holds the file descriptors of its messages and of stderr.
CHILD = "LCT_JAX_CHILD"
# Seconds between two heartbeats.
BEAT = 0.5
# JAX's lines about its coordination service, and everything after one of them, are held back.
SERVICE_LINE = re.compile(rb"^[IWEF]\d{4} [^\]]*(coordination_service|/?client\.h|add_port)", re.M)
Report = Callable[[ProcessSpec, str, int], int]


def report_on_stderr(spec: ProcessSpec, text: str, code: int) -> int:
    """Prints the last line of a process, and returns the exit code."""
    # Process 0 may have an unfinished line of a progress bar.
    bar = "\n" if spec.process == 0 else ""
    os.write(2, f"{bar}{spec.name}: error: {text}\n".encode())
    return code


def run_child(spec: ProcessSpec, report: Report) -> NoReturn:
    """Runs this program as a child, and exits with the code that `report` returns for how it ended."""
    messages, child_messages = os.pipe()
    # The child's Python writes to this directly; a progress bar needs it to be a terminal.
    stderr = os.dup(2)
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(child_messages, stderr),
        env={**os.environ, CHILD: f"{child_messages},{stderr}"},
        # In a session of its own, the child gets Ctrl-C only once, from here.
        start_new_session=True,
    )
    os.close(child_messages)

    def forward(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    with child.stdin, child.stderr:
        received, held = _listen(child, messages)
    if "code" in received:
        sys.exit(report(_complete(spec, received), received["text"], received["code"]))
    if child.returncode >= 0:
        os.write(2, held)
        sys.exit(child.returncode)
    text, code = explain(
        held.decode(errors="replace"), -child.returncode, spec, received.get("hosts")
    )
    if child.returncode != -signal.SIGABRT:
        os.write(2, held)
    sys.exit(report(_complete(spec, received), text, code))


def explain(said: str, number: int, spec: ProcessSpec, hosts: list[str] | None) -> tuple[str, int]:
    """Returns the line and the exit code for a child that a signal ended.

    Args:
        said: what JAX's coordination service wrote, as far as it was held back.
        number: the number of the signal.
        hosts: the host of every process; None before the processes have joined.
    """
    if "/RegisterTask" in said and "DEADLINE_EXCEEDED" in said:
        who = f"process {1 - spec.process}" if spec.processes == 2 else "one process or more"
        of = "the run" if spec.processes is None else spec.processes
        return f"{who} of {of} did not come within {spec.join_timeout:g} s", 2
    if "/RegisterTask" in said and "ALREADY_EXISTS" in said:
        return f"two processes were started as process {spec.process}", 2
    if "/RegisterTask" in said:
        return f"process 0 expects fewer processes than {spec.processes}", 2
    silent = re.search(r"stopped sending heartbeats\):\s+(\d+)", said)
    if silent:
        lost, why = int(silent[1]), f"no sign of it for {spec.lost_timeout:g} s"
        # This process was suspended, and now runs again.
        if lost == spec.process:
            return f"the others go without this process: {why}{AGAIN}", EXIT_LOST
        return describe_loss(lost, _name_host(hosts, lost), why), EXIT_LOST
    if "Failed to send RPC to coordination service" in said:
        why = "it ended without a word"
        if not re.search("Socket closed|onnection re|recvmsg|Broken pipe", said):
            why = f"no sign of it for {spec.lost_timeout:g} s"
        return describe_loss(0, _name_host(hosts, 0), why), EXIT_LOST
    status = re.search(r"absl::Status: ([^\n]*)", said)
    why = f"JAX ended it ({status[1]})" if status else f"ended by {signal.Signals(number).name}"
    return why + AGAIN, EXIT_LOST


def watch_parent(lost_timeout: float, end: Callable[[str], NoReturn]) -> None:
    """Starts a thread in a child that calls `end` with a reason as soon as the parent is gone."""

    def watch() -> None:
        while select.select([0], [], [], lost_timeout)[0]:
            if not os.read(0, 1024):
                end("it ended without a word")
        end(f"no sign of it for {lost_timeout:g} s")

    threading.Thread(target=watch, daemon=True).start()


def tell_parent(**message: Any) -> None:
    """Sends a message from the child to the parent: its number among the processes, or its last line."""
    # The parent may be gone.
    with contextlib.suppress(OSError):
        os.write(int(os.environ[CHILD].split(",")[0]), json.dumps(message).encode() + b"\n")


def _listen(child: subprocess.Popen[bytes], messages: int) -> tuple[dict[str, Any], bytes]:
    """Forwards what the child writes until it ends; returns its messages, and the output that was held back."""
    sources, texts, held = {child.stderr.fileno(), messages}, b"", b""
    beaten = 0.0
    while True:
        ended = child.poll() is not None
        if time.monotonic() - beaten > BEAT:
            with contextlib.suppress(OSError):
                os.write(child.stdin.fileno(), b".")
            beaten = time.monotonic()
        ready = select.select(sources, [], [], 0 if ended else BEAT)[0] if sources else []
        for source in ready:
            data = os.read(source, 2**16)
            if not data:
                sources.discard(source)
            elif source == messages:
                texts += data
            else:
                held = _pass_on(held + data)
        # A process that the child started may hold a pipe open, so the end of the pipes is not waited for.
        if ended and not ready:
            received: dict[str, Any] = {}
            # Of several last lines, the first one counts.
            for text in texts.splitlines():
                received = {**json.loads(text), **received}
            return received, held
        if not sources and not ended:
            time.sleep(BEAT)


def _pass_on(data: bytes) -> bytes:
    """Writes what comes before the first line of the coordination service, and returns the rest."""
    found = SERVICE_LINE.search(data)
    # An incomplete line may still become a line of the service.
    if found is None:
        start = data.rfind(b"\n") + 1
        cut = start if re.match(rb"[IWEF]\d{0,4}( |$)", data[start:]) else len(data)
    else:
        cut = found.start()
    os.write(2, data[:cut])
    return data[cut:]


def _complete(spec: ProcessSpec, received: dict[str, Any]) -> ProcessSpec:
    """Returns the spec with its process numbers filled in from the child, which alone knows them where JAX detects
    them.
    """
    known = {name: received[name] for name in ("process", "processes") if name in received}
    return dataclasses.replace(spec, **known)


def _name_host(hosts: list[str] | None, process: int) -> str:
    return hosts[process] if hosts else "an unknown host"
