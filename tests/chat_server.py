"""A chat endpoint on loopback that answers as it is told to, badly if need be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@dataclass
class ChatServer:
    """Where it listens and what it was asked, headers and body."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serve_chat(replies: Sequence[Reply]) -> Iterator[ChatServer]:
    """Runs a server; request n is answered by reply n, further ones by the last."""
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
    """A completion whose text is a value as JSON, or a text as it is."""
    text = value if isinstance(value, str) else json.dumps(value)

    def reply(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        _send(handler, 200, {"choices": [{"message": {"content": text}}], "usage": usage})

    return reply


def status(code: int, **headers: str) -> Reply:
    """An error."""
    return lambda handler, _: _send(handler, code, {"error": "no"}, **headers)


def slow(seconds: float) -> Reply:
    """Nothing for so long, and then nothing."""
    return lambda _, __: time.sleep(seconds)


def cut_short(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Half of the bytes that were announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')


def truncated(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """A whole reply that is half a JSON document."""
    data = b'{"choices": [{"message": {"con'
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def _send(handler: BaseHTTPRequestHandler, code: int, value: object, **headers: str) -> None:
    data = json.dumps(value).encode()
    handler.send_response(code)
    for name, text in headers.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
