"""The processes of a run: they exchange values and end together, over JAX's coordination service.

Values can be exchanged before JAX looks for devices, and a failure ends even a process that waits in a collective which
would never return. The collectives of jax.experimental.multihost_utils can do neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from jax.errors import JaxRuntimeError

from lct_jax.distributed.process_spec import ProcessSpec
from lct_jax.errors import InputError
from lct_jax.jax_internals import Coordination

# The exit code of a process whose run ended because another process was lost.
EXIT_LOST = 3
AGAIN = "; the same command on all processes goes on from the last save"
# Seconds between two checks for a failure.
POLL = 1.0
# Seconds in which every process can read of a failure, before process 0 ends the service.
LINGER = 10.0
FAILED = "failed"


class Peers:
    """All processes of a run, from the point of view of one of them.

    Args:
        spec: the spec of this process.
        client: the client of the coordination service.
        report: is called with the last line of this process and its exit code, before it ends.
    """

    def __init__(
        self, spec: ProcessSpec, client: Coordination, report: Callable[[str, int], None]
    ) -> None:
        self.spec, self._client, self._report = spec, client, report
        self.process, self.processes = spec.process, spec.processes
        self._leaving, self._watcher = threading.Event(), threading.Thread(target=self._watch)
        self._watcher.daemon = True

    def meet(self, *, timeout: float) -> list[str]:
        """Returns the host of every process, by process.

        Raises:
            InputError: a process was started with another number of processes than process 0, or does not answer in
                time.
        """
        own = [self.spec.process, self.spec.processes, socket.gethostname()]
        self._client.key_value_set(f"count/{own[0]}", json.dumps(own))
        deadline, found = time.monotonic() + timeout, []
        for process in range(self.spec.processes):
            text = self._get(f"count/{process}", deadline - time.monotonic())
            if text is None:
                raise InputError(f"process {process}: no answer within {timeout:g} s")
            found.append(json.loads(text))
            # Process 0 is the first one in `found`.
            for number, count, host in (own, found[-1]):
                if count != found[0][1]:
                    raise InputError(
                        f"process {number} on {host} was started as one of {count}, process 0 as one of {found[0][1]}"
                    )
        return [host for _, _, host in found]

    def gather(self, topic: str, value: Any, *, timeout: float) -> list[Any]:
        """Returns the JSON value that every process gives for a topic, by process; a topic can be used only once.

        Raises:
            InputError: some processes do not give it within `timeout` seconds.
        """
        self._client.key_value_set(f"{topic}/{self.spec.process}", json.dumps(value))
        deadline = time.monotonic() + timeout
        texts = [
            self._get(f"{topic}/{process}", deadline - time.monotonic())
            for process in range(self.spec.processes)
        ]
        missing = ", ".join(str(process) for process, text in enumerate(texts) if text is None)
        if missing:
            raise InputError(f"{topic}: no answer from process {missing} within {timeout:.0f} s")
        return [json.loads(text) for text in texts]

    def watch(self) -> None:
        """Starts a thread that ends this process as soon as another one fails."""
        self._watcher.start()

    def part(self, *, timeout: float) -> None:
        """Waits until every process has finished; processes that do not finish in time are ended."""
        try:
            self._client.wait_at_barrier("end", int(timeout * 1000))
        except JaxRuntimeError:
            self.fail(
                f"stopped before the others, which did not end within {timeout:g} s", code=EXIT_LOST
            )
        self._leaving.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def fail(self, text: str, *, code: int) -> NoReturn:
        """Ends this process with a message and an exit code; the other processes see it and end too."""
        self._publish(f"it ended with: {text}", code)
        self._end(text, code)

    def fail_silently(self, why: str) -> NoReturn:
        """Ends this process after its parent, which would print its last line, is gone; the other processes see why."""
        self._publish(why, EXIT_LOST)
        self._end(why, EXIT_LOST)

    def _publish(self, why: str, code: int) -> None:
        failure = {"process": self.spec.process, "host": socket.gethostname(), "why": why}
        # Another process may have failed first.
        with contextlib.suppress(JaxRuntimeError):
            self._client.key_value_set(FAILED, json.dumps({**failure, "code": code}))

    def _watch(self) -> None:
        while not self._leaving.is_set():
            try:
                text = self._get(FAILED, POLL)
            # The service is gone, and JAX ends this process for that.
            except JaxRuntimeError:
                return
            if text is not None and not self._leaving.is_set():
                failure = json.loads(text)
                code = failure.pop("code")
                if failure["process"] != self.spec.process:
                    self._end(describe_loss(**failure), code)

    def _end(self, text: str, code: int) -> NoReturn:
        """Ends this process at once, since JAX's own shutdown waits for processes that may not come."""
        sys.stdout.flush()
        self._report(text, code)
        with contextlib.suppress(JaxRuntimeError):
            self._client.wait_at_barrier("heard", int(LINGER * 1000))
        os._exit(code)

    def _get(self, key: str, seconds: float) -> str | None:
        """Returns the value of a key, or None where it is not set in time."""
        try:
            return self._client.blocking_key_value_get(key, max(int(seconds * 1000), 1))
        except JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
            return None


def describe_loss(process: int, host: str, why: str) -> str:
    """Returns the line with which the other processes report that a process is lost."""
    return f"process {process} on {host} is gone: {why}{AGAIN}"


class Alone:
    """The peers of a run of one process."""

    process, processes = 0, 1

    def gather(self, topic: str, value: Any, *, timeout: float) -> list[Any]:
        """Returns a list of the value alone."""
        return [value]
