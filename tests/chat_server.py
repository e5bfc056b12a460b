"""Runs a chat endpoint on loopback that gives prescribed answers, among them bad ones."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@dataclass
class ChatServer:
    """Holds the address of a server and the requests it received, headers and body."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serve_chat(replies: Sequence[Reply]) -> Iterator[ChatServer]:
    """Runs a server that answers request n by reply n, and further ones by the last."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.asked)
                server.asked.append(body)
                server.headers.append({"path": self.path, **dict(self.headers)})
            replies[min(number, len(replies) - 1)](self, body)

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = ChatServer(f"http://127.0.0.1:{listener.server_address[1]}/v1")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def answer(value: object, *, tokens: tuple[int, int] = (10, 5)) -> Reply:
    """Returns a completion whose text is a value as JSON, or a text as it is."""
    text = value if isinstance(value, str) else json.dumps(value)

    def reply(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        _send(handler, 200, {"choices": [{"message": {"content": text}}], "usage": usage})

    return reply


def status(code: int, reason: object = "no", **headers: str) -> Reply:
    """Returns a reply with a status and the endpoint's reason."""
    return lambda handler, _: _send(handler, code, {"error": reason}, **headers)


def body(value: object, code: int = 200) -> Reply:
    """Returns a reply with a body that need be no completion."""
    return lambda handler, _: _send(handler, code, value)


def message(finish: str = "stop", usage: object = None, **members: object) -> Reply:
    """Returns a completion whose message has these members."""
    choice = {"message": {"role": "assistant", **members}, "finish_reason": finish}
    return body({"choices": [choice], "usage": usage})


def page(code: int, title: str) -> Reply:
    """Returns a web page, as a proxy sends it."""
    data = f"<html><head><title>{title}</title></head><body>x</body></html>".encode()
    return lambda handler, _: _send_bytes(handler, code, data, "text/html")


def unless(refused: Callable[[dict[str, Any]], bool], bad: Reply, good: Reply) -> Reply:
    """Returns a reply that is bad for some requests and good for all others."""
    return lambda handler, asked: (bad if refused(asked) else good)(handler, asked)


def stream(*pieces: str, end: str = "stop", usage: object = None, done: bool = True) -> Reply:
    """Returns a completion as server-sent events, one for each piece; without `end` the stream breaks off."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces
    ]
    if end:
        chunks.append({"choices": [{"delta": {}, "finish_reason": end}]})
    if usage is not None:
        chunks.append({"choices": [], "usage": usage})
    lines = [f"data: {json.dumps(chunk)}" for chunk in chunks] + ["data: [DONE]"] * done
    return stream_of("".join(f"{line}\n\n" for line in [": waiting", *lines]).encode())


def stream_of(data: bytes) -> Reply:
    """Returns these bytes as server-sent events."""
    return lambda handler, _: _send_bytes(handler, 200, data, "text/event-stream")


def trickle(at_once: bytes, over: bytes, seconds: float = 1.0) -> Reply:
    """Sends some bytes at once, and others byte by byte, over and over, for some seconds: no read ever waits long.

    The bytes are the reply as it goes over the line, status line and all.
    """

    def reply(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        with suppress(OSError):
            handler.wfile.write(at_once)
            for byte in islice(cycle(over), round(seconds / 0.02)):
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(0.02)

    return reply


def slow(seconds: float) -> Reply:
    """Sends nothing for some seconds, and then closes."""
    return lambda _, __: time.sleep(seconds)


def cut_short(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Sends half of the bytes that were announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')


def truncated(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Sends a whole reply that is half a JSON document."""
    data = b'{"choices": [{"message": {"con'
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def raw(data: bytes) -> Reply:
    """Returns a reply with a body of these bytes."""
    return lambda handler, _: _send_bytes(handler, 200, data, "application/json")


def _send(handler: BaseHTTPRequestHandler, code: int, value: object, **headers: str) -> None:
    _send_bytes(handler, code, json.dumps(value).encode(), "application/json", **headers)


def _send_bytes(
    handler: BaseHTTPRequestHandler, code: int, data: bytes, kind: str, **headers: str
) -> None:
    handler.send_response_only(code)
    headers = {"Date": handler.date_time_string(), "Content-Type": kind, **headers}
    for name, text in headers.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
