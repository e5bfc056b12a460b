"""The processes of a run as one: joined by a roll call, able to pass values round, ended together.

`join` makes a `Team` of a `Place`. A thread of it keeps up with the coordinator; when another process is lost, it ends
this one with one line, even while the main thread sits in a collective that would never return.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from lct_jax.errors import InputError
from lct_jax.hosts import coordinator
from lct_jax.hosts.place import Place

BEAT = 1.0  # seconds between two signs of life, or a fifth of `lost_timeout` where that is less
AGAIN = "the same command on all processes goes on from the last save"


class Lost(InputError):
    """Another process is gone. `code`: with which this one ends."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Team:
    """What a process that has joined can do.

    Args:
        place: its own. connection: to the coordinator, after the roll call. rest: bytes already read from it.
        on_loss: called by the watching thread with what happened; None ends the process.
    """

    def __init__(
        self,
        place: Place,
        connection: socket.socket,
        *,
        service: int,
        rest: bytes,
        on_loss: Callable[[Lost], None] | None = None,
    ) -> None:
        self.place = place
        self.service = _address(place, service)  # of JAX's coordination service
        self.lost: Lost | None = None
        self._connection, self._buffer, self._on_loss = connection, rest, on_loss or self.end
        self._speaking, self._leaving = threading.Lock(), threading.Event()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
        self._thread.start()

    def gather(self, topic: str, value: Any, *, timeout: float) -> list[Any]:
        """What every process says to a topic, by process; each says it once, in the same order of topics.

        Raises:
            InputError: some do not say it within `timeout` seconds after the first, or are lost.
        """
        self._say({"topic": topic, "value": value, "timeout": timeout})
        answer = {"topic": None}
        while answer["topic"] != topic:  # another one's is that of a process that has gone astray
            if self.lost is not None:
                raise self.lost
            answer = self._answers.get()
        if "missing" in answer:
            away = ", ".join(map(str, answer["missing"]))
            raise InputError(f"{topic}: no answer from process {away} within {timeout:.0f} s")
        return answer["values"]

    def fail(self, line: str, *, code: int) -> NoReturn:
        """Ends this process with a line, of which the others hear, so that they end too."""
        self._leaving.set()
        self._say({"failed": line.removeprefix("error: "), "code": code})
        self._exit(line, code)

    def end(self, lost: Lost) -> NoReturn:
        """Ends this process with one line: where it sits in a collective, nothing else would."""
        self._exit(f"error: {lost}; {AGAIN}", lost.code)

    def _exit(self, line: str, code: int) -> NoReturn:
        """Ends at once: JAX's own way out waits for the others, which do not come."""
        sys.stdout.flush()
        bar = "" if self.place.process else "\n"  # the line of a progress bar may stand open
        os.write(2, f"{bar}{self.place.name}: {line}\n".encode())
        os._exit(code)

    def leave(self) -> None:
        """Says that this process is done; that it goes is no loss then."""
        self._leaving.set()
        self._say({"bye": 1})
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._connection.close()

    def wait_for_loss(self, seconds: float) -> Lost | None:
        """The loss that explains why a collective failed, if one is known within so many seconds."""
        end = time.monotonic() + seconds
        while self.lost is None and time.monotonic() < end:
            time.sleep(0.05)
        return self.lost

    def _say(self, message: dict[str, Any]) -> None:
        with self._speaking:
            try:
                self._connection.sendall(json.dumps(message).encode() + b"\n")
            except OSError:  # the watching thread finds out too, and says so
                return

    def _watch(self) -> None:
        said, unanswered = 0.0, None  # since when: silence counts only where something was said
        beat = min(BEAT, self.place.lost_timeout / 5)
        while not self._leaving.is_set():
            ready, _, _ = select.select([self._connection], [], [], beat)
            now = time.monotonic()
            if now - said >= beat:
                self._say({"beat": 1})
                said, unanswered = now, unanswered or now
            if ready:
                unanswered = None
                if not self._hear():
                    return self._lose("the coordinator at process 0 is gone", coordinator.EXIT_LOST)
            elif unanswered is not None and now - unanswered > self.place.lost_timeout:
                text = f"no sign of the coordinator at process 0 for {self.place.lost_timeout:g} s"
                return self._lose(text, coordinator.EXIT_LOST)
        return None

    def _hear(self) -> bool:
        """Takes what the coordinator has sent; False where it has ended."""
        try:
            data = self._connection.recv(2**16)
        except OSError:
            data = b""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for message in map(json.loads, lines):
            if "lost" in message:
                self._lose(message["why"], message["code"])
            elif "topic" in message:
                self._answers.put(message)
        return bool(data)

    def _lose(self, why: str, code: int) -> None:
        if self.lost is not None or self._leaving.is_set():
            return
        self.lost = Lost(why, code=code)
        self._answers.put({"topic": None})  # whoever waits for one looks up
        self._on_loss(self.lost)


def join(place: Place, *, on_loss: Callable[[Lost], None] | None = None) -> Team:
    """Takes this process's place; process 0 starts the coordinator first.

    Raises:
        InputError: the coordinator cannot be started or reached, or not everyone came as expected, in time.
    """
    if place.process == 0:
        start_coordinator(place)
    deadline = time.monotonic() + place.join_timeout
    connection = _connect(place, deadline)
    hello = {"process": place.process, "of": place.processes, "host": socket.gethostname()}
    connection.sendall(json.dumps(hello).encode() + b"\n")
    # The coordinator's own timeout comes first, and it knows who is missing.
    connection.settimeout(place.join_timeout + 10.0)
    answer, rest = b"", b""
    while b"\n" not in answer:
        try:
            data = connection.recv(2**16)
        except OSError:
            data = b""
        if not data:
            connection.close()
            raise InputError(f"{_address(place)}: the coordinator at process 0 has ended")
        answer += data
    line, rest = answer.split(b"\n", 1)
    message = json.loads(line)
    if "refused" in message:
        connection.close()
        raise InputError(message["refused"])
    connection.settimeout(None)
    return Team(place, connection, service=message["service"], rest=rest, on_loss=on_loss)


def start_coordinator(place: Place) -> None:
    """Starts the coordinator beside process 0; returns when it can be reached."""
    words = (place.port, place.processes, place.join_timeout, place.lost_timeout)
    child = subprocess.Popen(
        [sys.executable, coordinator.__file__, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # JAX's service reports a loss at length, and this file in a line
        start_new_session=True,  # a signal for all of this process's group is none for it
        text=True,
    )
    said = child.stdout.readline().strip()
    child.stdout.close()
    child.returncode = 0  # nobody waits for it: it outlives this process
    if said != "ready":
        raise InputError(f"{_address(place)}: the coordinator cannot listen there ({said})")


def _connect(place: Place, deadline: float) -> socket.socket:
    host = "localhost" if place.process == 0 else place.host
    while True:
        try:
            return socket.create_connection((host, place.port), timeout=5.0)
        except OSError as error:
            if time.monotonic() > deadline:
                found = error.strerror or error
                raise InputError(
                    f"{_address(place)}: no coordinator reached within {place.join_timeout:g} s ({found}), "
                    "expected process 0 to run there and the port to be open"
                ) from None
            time.sleep(0.2)


def _address(place: Place, port: int | None = None) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port if port is None else port}"


class Alone:
    """A team of one: it asks nobody, and nobody is lost."""

    processes = 1

    def gather(self, topic: str, value: Any, *, timeout: float) -> list[Any]:
        """The value alone."""
        return [value]
