"""The parent of a process of a distributed run: it turns every end of its child into one line and an exit code.

JAX answers a process that is absent or lost by aborting the others with a stack trace. So the program that was started
runs itself once more as a child, passes signals on to it, holds back what JAX writes of its coordination service, and
says in one line what that was. Parent and child give each other signs of life over pipes, so that neither outlives
the other.
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

CHILD = "LCT_JAX_CHILD"  # environment variable of a child: file descriptors of its messages and of stderr
BEAT = 0.5  # seconds between two signs of life
# JAX's lines about its coordination service, and everything after one of them, are held back.
SERVICE_LINE = re.compile(rb"^[IWEF]\d{4} [^\]]*(coordination_service|/?client\.h|add_port)", re.M)
Report = Callable[[ProcessSpec, str, int], int]


def report_on_stderr(spec: ProcessSpec, text: str, code: int) -> int:
    """Prints the last line of a process, and returns the exit code."""
    bar = "\n" if spec.process == 0 else ""  # the line of a progress bar may stand open
    os.write(2, f"{bar}{spec.name}: error: {text}\n".encode())
    return code


def run_child(spec: ProcessSpec, report: Report) -> NoReturn:
    """Runs this program as a child, and ends with the exit code that `report` gives for its end."""
    messages, child_messages = os.pipe()
    stderr = os.dup(2)  # Python writes to it directly; a progress bar needs it to be a terminal
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(child_messages, stderr),
        env={**os.environ, CHILD: f"{child_messages},{stderr}"},
        start_new_session=True,  # so that Ctrl-C comes once, from here
    )
    os.close(child_messages)

    def forward(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    with child.stdin, child.stderr:
        told, held = _listen(child, messages)
    if "code" in told:
        sys.exit(report(_complete(spec, told), told["text"], told["code"]))
    if child.returncode >= 0:
        os.write(2, held)
        sys.exit(child.returncode)
    text, code = explain(held.decode(errors="replace"), -child.returncode, spec, told.get("hosts"))
    if child.returncode != -signal.SIGABRT:
        os.write(2, held)
    sys.exit(report(_complete(spec, told), text, code))


def explain(said: str, number: int, spec: ProcessSpec, hosts: list[str] | None) -> tuple[str, int]:
    """Returns the line and the exit code for a child that a signal ended.

    Args:
        said: by JAX's coordination service, as far as it was held back. number: of the signal.
        hosts: of all processes, by process; None before they have joined.
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
        if lost == spec.process:  # it was frozen, and has come back
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
    """Starts a thread, in a child, that calls `end` with a reason as soon as the parent is gone."""

    def watch() -> None:
        while select.select([0], [], [], lost_timeout)[0]:
            if not os.read(0, 1024):
                end("it ended without a word")
        end(f"no sign of it for {lost_timeout:g} s")

    threading.Thread(target=watch, daemon=True).start()


def tell_parent(**message: Any) -> None:
    """Sends a message from the child: its place among the processes, or its last line."""
    with contextlib.suppress(OSError):  # the parent is gone
        os.write(int(os.environ[CHILD].split(",")[0]), json.dumps(message).encode() + b"\n")


def _listen(child: subprocess.Popen[bytes], messages: int) -> tuple[dict[str, Any], bytes]:
    """Passes on what the child writes until it ends; returns its messages, and what was held back."""
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
        if ended and not ready:  # a process that the child started may hold a pipe open
            told: dict[str, Any] = {}
            for text in texts.splitlines():  # the first last line counts
                told = {**json.loads(text), **told}
            return told, held
        if not sources and not ended:
            time.sleep(BEAT)


def _pass_on(data: bytes) -> bytes:
    """Writes what comes before the first line of the coordination service; returns the rest."""
    found = SERVICE_LINE.search(data)
    if found is None:  # a line that is not whole yet may become one
        start = data.rfind(b"\n") + 1
        cut = start if re.match(rb"[IWEF]\d{0,4}( |$)", data[start:]) else len(data)
    else:
        cut = found.start()
    os.write(2, data[:cut])
    return data[cut:]


def _complete(spec: ProcessSpec, told: dict[str, Any]) -> ProcessSpec:
    """Fills in what only the child knows, where JAX has detected it."""
    known = {name: told[name] for name in ("process", "processes") if name in told}
    return dataclasses.replace(spec, **known)


def _name_host(hosts: list[str] | None, process: int) -> str:
    return hosts[process] if hosts else "an unknown host"
