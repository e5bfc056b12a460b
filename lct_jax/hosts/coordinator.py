"""The coordinator: a small process beside process 0 that calls the roll, passes values round and tells of losses.

    python coordinator.py PORT PROCESSES JOIN_TIMEOUT LOST_TIMEOUT    (started by team.py; seconds)

Lines of JSON over one connection a process enter and leave. JAX's coordination service answers an absent or a dead
process by aborting the others with a stack trace, and dies with process 0; so it is started here, after the roll call,
and outlives process 0 for as long as the others need to end with a line of their own. Only jaxlib is imported.

A process says                                      and hears
    {"process": 1, "of": 2, "host": "a"}    first       {"service": PORT} once all are there, or {"refused": TEXT}
    {"topic": "code", "value": V, "timeout": 10}        {"topic": "code", "values": [V, V]} or {.., "missing": [1]}
    {"beat": 1}                                         {"beat": 1}
    {"failed": TEXT, "code": 2}             last        {"lost": 1, "why": TEXT, "code": 2}, as all others do
    {"bye": 1}                              last
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

LONGEST = 2**20  # bytes of a line
LINGER = 10.0  # seconds that those who are refused have to go
EXIT_LOST = 3  # exit code of a process whose run ended because another one was lost

Message = dict[str, Any]


class Roll:
    """Who is there, and what they have said.

    Args:
        processes: how many are expected. lost_timeout: seconds without a sign after which one counts as lost.
    """

    def __init__(self, processes: int, *, lost_timeout: float) -> None:
        self.processes, self.lost_timeout = processes, lost_timeout
        self.writers: dict[int, asyncio.StreamWriter] = {}
        self.hosts: dict[int, str] = {}
        self.settled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.empty = asyncio.Event()
        self._started: float | None = None  # when; before, whoever is there waits in silence
        self._left, self._refused = set[int](), set[int]()
        self._values: dict[str, dict[int, Any]] = {}

    async def call(self, timeout: float) -> str:
        """Waits for all; "" once they are there, otherwise what is wrong, in words."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.settled), timeout)
        except TimeoutError:
            away = [str(p) for p in range(self.processes) if p not in self.writers]
            kind = "process" if len(away) == 1 else "processes"
            return f"{kind} {', '.join(away)} of {self.processes} did not come within {timeout:g} s"

    def start(self, port: int) -> None:
        """Tells all where JAX's service is; from now on a process that goes is a loss."""
        self._started = asyncio.get_running_loop().time()
        if self.writers:
            self.empty.clear()
        self.tell({"service": port})

    async def refuse(self, wrong: str) -> None:
        """Tells all, and stays until they have gone; process 0, which started this, may be yet to come."""
        self._refused |= self.writers.keys()
        self.tell({"refused": wrong})
        end = asyncio.get_running_loop().time() + LINGER
        while self.writers or 0 not in self._refused:
            if asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(0.05)

    def tell(self, message: Message) -> None:
        """Says something to everyone there."""
        for writer in self.writers.values():
            _write(writer, message)

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first line to its end."""
        try:
            hello = await asyncio.wait_for(_read(reader), self.lost_timeout)
        except (TimeoutError, ValueError, OSError):
            hello = None
        if hello is None or not {"process", "of", "host"} <= hello.keys():
            writer.close()  # a stranger
            return
        process = hello["process"]
        wrong = self._check(hello)
        if wrong:
            if not self.settled.done():
                self.settled.set_result(wrong)
            self._refused.add(process)
            _write(writer, {"refused": wrong})
            writer.close()
            return
        self.writers[process], self.hosts[process] = writer, hello["host"]
        if len(self.writers) == self.processes and not self.settled.done():
            self.settled.set_result("")
        why = await self._listen(process, reader)
        del self.writers[process]
        writer.close()
        if self._started is None and process == 0 and not self.settled.done():
            self.settled.set_result("process 0 ended before all had come")
        if self._started is not None and process not in self._left:
            self._lose(process, why, code=EXIT_LOST)
        if not self.writers:
            self.empty.set()

    async def _listen(self, process: int, reader: asyncio.StreamReader) -> str:
        """Takes what a process says until it says no more; returns why that is."""
        while True:
            try:
                message = await asyncio.wait_for(_read(reader), self.lost_timeout)
            except TimeoutError:
                now = asyncio.get_running_loop().time()
                if self._started is None or now - self._started < self.lost_timeout:
                    continue
                return f"no sign of it for {self.lost_timeout:g} s"
            except (ValueError, OSError) as error:
                return f"its connection broke ({error})"
            if message is None:
                return "it ended without a word"
            self._take(process, message)

    def _take(self, process: int, message: Message) -> None:
        if "beat" in message:
            _write(self.writers[process], message)
        elif "topic" in message:
            self._collect(process, message)
        elif "failed" in message:
            self._left.add(process)
            self._lose(process, f"it ended with: {message['failed']}", code=message["code"])
        elif "bye" in message:
            self._left.add(process)

    def _collect(self, process: int, message: Message) -> None:
        topic = message["topic"]
        if topic not in self._values:
            self._values[topic] = {}
            loop = asyncio.get_running_loop()
            loop.call_later(message["timeout"], self._give_up, topic)
        self._values[topic][process] = message["value"]
        if len(self._values[topic]) == self.processes:
            values = self._values.pop(topic)
            self.tell({"topic": topic, "values": [values[p] for p in range(self.processes)]})

    def _give_up(self, topic: str) -> None:
        values = self._values.pop(topic, None)
        if values is not None:
            away = [process for process in range(self.processes) if process not in values]
            self.tell({"topic": topic, "missing": away})

    def _lose(self, process: int, why: str, *, code: int) -> None:
        host = self.hosts[process]
        message = {"lost": process, "why": f"process {process} on {host} is gone: {why}"}
        for other, writer in self.writers.items():
            if other != process:
                _write(writer, {**message, "code": code})

    def _check(self, hello: Message) -> str:
        """What is wrong with who has come, or ""."""
        process, of, host = hello["process"], hello["of"], hello["host"]
        if self.settled.done() and self.settled.result():
            return self.settled.result()
        if of != self.processes:
            return f"process {process} on {host} was started as one of {of}, process 0 as one of {self.processes}"
        if process in self.writers:
            return f"two processes were started as process {process}, on {self.hosts[process]} and on {host}"
        return ""


def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message).encode() + b"\n")


async def _read(reader: asyncio.StreamReader) -> Message | None:
    """The next line; None at the end. Raises ValueError for what is no JSON object, or too long."""
    line = await reader.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def listen(port: int) -> socket.socket:
    """A socket that hears all addresses of this host on a port; 0 takes any."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=1024)


async def coordinate(
    door: socket.socket, processes: int, *, join_timeout: float, lost_timeout: float
) -> None:
    """Calls the roll, starts JAX's service and stays until everyone has gone."""
    roll = Roll(processes, lost_timeout=lost_timeout)
    server = await asyncio.start_server(roll.receive, sock=door, limit=LONGEST)
    wrong = await roll.call(join_timeout)
    if wrong:
        await roll.refuse(wrong)
        server.close()
        return
    port, service = await asyncio.to_thread(start_service, processes, lost_timeout)
    roll.start(port)
    await roll.empty.wait()
    server.close()
    service.shutdown()


def start_service(processes: int, lost_timeout: float) -> tuple[int, Any]:
    """Starts JAX's coordination service; returns its port, and what has to live as long as it."""
    # What jax.distributed.initialize starts in process 0; it has no public name.
    from jaxlib import _jax

    with listen(0) as free:
        port = free.getsockname()[1]
    # This process watches, and sooner; that the service gives up on anyone must not come first.
    patience = int(lost_timeout) + 60
    return port, _jax.get_distributed_runtime_service(
        f"[::]:{port}", processes, heartbeat_timeout=patience, shutdown_timeout=60
    )


def main() -> None:
    """Runs until everyone has gone; says "ready" once it can be reached, or why not."""
    port, processes = int(sys.argv[1]), int(sys.argv[2])
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # meant for the training: it ends, then this does
        signal.signal(number, signal.SIG_IGN)
    try:
        door = listen(port)
    except OSError as error:
        print(os.strerror(error.errno), flush=True)
        return
    print("ready", flush=True)
    timeouts = {"join_timeout": float(sys.argv[3]), "lost_timeout": float(sys.argv[4])}
    asyncio.run(coordinate(door, processes, **timeouts))


if __name__ == "__main__":
    main()
