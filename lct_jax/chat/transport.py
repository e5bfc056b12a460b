"""Sends requests to an endpoint over HTTP, whole or streamed, and repeats them after temporary problems.

httpx2 sends the requests and tenacity repeats them. The endpoint's secrets are removed from the message of every
exception that this module raises, whichever library wrote it.
"""

from __future__ import annotations

import logging
import math
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx2
import tenacity

from lct_jax.chat.endpoint import Endpoint
from lct_jax.chat.errors import ChatError, PassingError
from lct_jax.chat.read_json import load_json
from lct_jax.chat.reply import Reply, raise_error, read_page, read_reason, read_reply, shorten
from lct_jax.chat.stream import read_stream
from lct_jax.config import ChatConfig

Hear = Callable[[str], None]
_LARGEST = 64 * 2**20  # bytes of a reply

# This library writes every URL into the log, and what it stands on every header; both may hold a key.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Transport:
    """Sends requests to one endpoint."""

    def __init__(self, endpoint: Endpoint, config: ChatConfig) -> None:
        self._endpoint, self._config = endpoint, config
        query = endpoint.query.reveal()
        self._url = f"{endpoint.url}/chat/completions{f'?{query}' if query else ''}"

    def send(self, body: dict[str, Any], start: Callable[[], Hear | None]) -> Reply:
        """Returns the completion that answers a request.

        Args:
            start: is called before each try, and returns the function that receives the pieces of a streamed answer;
                None if the answer is not streamed.

        Raises:
            RefusedAnswer: the model refused. BadRequest: the endpoint does not take the request as it is.
            ChatError: there was no answer after all tries, or none can be expected.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._config.tries),
            wait=self._wait,
            retry=tenacity.retry_if_exception(self._may_pass),
            reraise=True,
        )
        with self._hide_secrets():
            try:
                return retrying(lambda: self._try(body, start()))
            except PassingError as error:
                raise ChatError(
                    self._say_last(error, retrying.statistics["attempt_number"])
                ) from None

    def _try(self, body: dict[str, Any], hear: Hear | None) -> Reply:
        try:
            with (
                _Deadline(self._config.deadline) as deadline,
                self._open_client() as client,
                client.stream(
                    "POST", self._url, json=body, extensions={"trace": deadline.watch}
                ) as response,
            ):
                streamed = "text/event-stream" in response.headers.get("Content-Type", "")
                if streamed and response.is_success:
                    # Some servers stream whatever they are asked.
                    events, hide = httpx2.EventSource(response), self._endpoint.hide_secrets_in
                    return read_stream(_within_size(events), hear or _ignore, hide=hide)
                data = b"".join(_within_size(response.iter_bytes()))
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise PassingError(
                f"{type(error).__name__}: {shorten(str(error)) or 'no reply'}"
            ) from None
        reply = self._read(response, data.decode("utf-8-sig", errors="replace"))
        if hear is not None:
            hear(reply.text)
        return reply

    def _read(self, response: httpx2.Response, text: str) -> Reply:
        try:
            return _read(response, text)
        except ChatError:
            # The reply is read again from a text without secrets, because shortening a long text may cut within a
            # secret.
            return _read(response, self._endpoint.hide_secrets_in(text))

    def _open_client(self) -> httpx2.Client:
        endpoint, config = self._endpoint, self._config
        headers = {"Authorization": f"Bearer {endpoint.key.reveal()}"} if endpoint.key else {}
        basic = (
            (endpoint.user, endpoint.password.reveal())
            if endpoint.user and not endpoint.key
            else None
        )
        timeout = httpx2.Timeout(config.timeout, connect=config.connect)
        try:
            return httpx2.Client(
                headers=headers, auth=basic, timeout=timeout, verify=_read_certificates()
            )
        except (ValueError, ImportError):
            # A proxy is wrong, and its URL may hold a password.
            raise ChatError(
                "the proxy that the environment names (HTTP_PROXY and the like) cannot be used"
            ) from None

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, PassingError) and (error.wait or 0) <= self._config.patience

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Returns the seconds before the next try: they grow, and are at least what the endpoint asks for."""
        pause = self._config.pause
        growing = tenacity.wait_exponential(pause, max=64 * pause) + tenacity.wait_random(0, pause)
        return max(growing(state), getattr(state.outcome.exception(), "wait", None) or 0.0)

    def _say_last(self, error: PassingError, tries: int) -> str:
        if not self._may_pass(error):
            return f"{error}; it asks to wait {error.wait:g} s, more than chat.patience ({self._config.patience:g})"
        return f"{tries} tries, the last: {error}"

    @contextmanager
    def _hide_secrets(self) -> Iterator[None]:
        try:
            yield
        except ChatError as error:
            error.args = (self._endpoint.hide_secrets_in(str(error)),)
            raise
        except Exception as error:
            hidden = self._endpoint.hide_secrets_in(str(error))
            if hidden != str(error):
                raise ChatError(f"{type(error).__name__}: {hidden}") from None
            raise


def _ignore(_text: str) -> None:
    """Takes a piece of an answer that nobody waits for."""


@cache
def _read_certificates() -> ssl.SSLContext:
    """Returns the settings of encrypted connections, made once: reading the certificates takes a tenth of a second."""
    return httpx2.create_ssl_context()


class _Deadline:
    """Ends a request that takes too long, whatever the server does meanwhile.

    A timer shuts the connection down, which ends the read or write that is in progress. A check of the clock between
    the pieces of a reply would not do: headers that arrive byte by byte, or a stream of comments, form no piece.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._socket, self._passed = seconds, None, False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        broken = (ChatError, httpx2.HTTPError, httpx2.StreamError, OSError)
        if self._passed and (error is None or isinstance(error, broken)):
            raise PassingError(
                f"the answer took longer than chat.deadline ({self._seconds:g} s)"
            ) from None

    def watch(self, _event: str, info: dict[str, Any]) -> None:
        """Takes what httpx2 traces of a request, and keeps the socket of the connection that was opened."""
        stream = info.get("return_value")
        if hasattr(stream, "get_extra_info"):
            self._socket = stream.get_extra_info("socket")
            if self._passed:
                self._end()

    def _end(self) -> None:
        self._passed, opened = True, self._socket
        if opened is None:
            return
        try:
            # The method of an SSLSocket would also take the encryption away from a read that is in progress.
            socket.socket.shutdown(opened, socket.SHUT_RDWR)
        except OSError:
            # The connection is closed already.
            return


def _within_size(pieces: Iterator[Any]) -> Iterator[Any]:
    """Yields the pieces of a reply; raises ChatError once the whole is too large."""
    size = 0
    for piece in pieces:
        size += len(piece) if isinstance(piece, bytes) else len(piece.data)
        if size > _LARGEST:
            raise ChatError(f"the reply is larger than {_LARGEST >> 20} MiB")
        yield piece


def read_wait(headers: httpx2.Headers) -> float | None:
    """Returns the seconds that a reply asks to wait, by `Retry-After` in seconds or as a date; None if it has none.

    A date is compared with the `Date` of the same reply, so that a clock that is wrong here does no harm.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        if "retry-after-ms" in headers:
            wait = float(headers["retry-after-ms"]) / 1000
        else:
            wait = _until(text, headers) if text[:1].isalpha() else float(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(wait, 0.0) if math.isfinite(wait) else None


def _until(text: str, headers: httpx2.Headers) -> float:
    now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
    then = parsedate_to_datetime(text)
    zoned = [date if date.tzinfo else date.replace(tzinfo=UTC) for date in (then, now)]
    return (zoned[0] - zoned[1]).total_seconds()


def _read(response: httpx2.Response, text: str) -> Reply:
    """Returns the completion of a whole reply with this body; raises the errors of `read_reply`."""
    try:
        value = load_json(text)
    except ValueError:
        value = None
    if response.has_redirect_location:
        raise ChatError(
            f"HTTP {response.status_code}: the endpoint has moved to {response.headers['Location']}"
        )
    if not response.is_success:
        reason = read_reason(value) if value is not None else read_page(text)
        raise_error(response.status_code, reason, read_wait(response.headers))
    if value is None:
        raise PassingError(f"HTTP {response.status_code} with {read_page(text)}")
    return read_reply(value)
