"""Sends messages to an endpoint and returns a checked answer; an answer that cannot be used is requested again.

The client keeps accepted answers on disk under a hash of the request, so that a rerun pays for nothing twice, and
counts the tokens that were spent. It serves every caller that wants JSON of a language model: captions show frames and
ask once for each scene; callers that write and repair longer texts pass a check of their own, and may receive the
answer as it grows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lct_jax.chat.dialect import Dialect
from lct_jax.chat.endpoint import Endpoint
from lct_jax.chat.errors import BadRequest, ChatError, RefusedAnswer
from lct_jax.chat.messages import Message, count_images
from lct_jax.chat.read_json import parse_json
from lct_jax.chat.reply import Reply, Usage
from lct_jax.chat.transport import Transport
from lct_jax.config import ChatConfig
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

Checked = TypeVar("Checked")
# An answer that cannot be used is requested again so many times.
AGAIN = 2


def read_json(reply: Reply) -> Any:
    """Returns the JSON value in an answer; raises InputError where there is none, or one that is cut off."""
    return parse_json(reply.text)


@dataclass(frozen=True)
class Piece:
    """A piece of an answer as it grows.

    Attributes:
        attempt: counts requests from 1; when it increases, the answer starts again. text: the added text.
    """

    attempt: int
    text: str


@dataclass(frozen=True)
class _Question:
    """Holds what is asked: messages, the same with fewer pictures, and the receiver of the answer's pieces."""

    messages: Sequence[Message]
    show_fewer: Callable[[int], Sequence[Message]] | None
    on_piece: Callable[[Piece], None] | None


class Chat:
    """Asks an endpoint, keeps accepted answers in a folder and counts tokens.

    Args:
        endpoint: the endpoint to ask. cache: the folder of accepted answers; None keeps none, so that the same question
            may get another answer. config: how to ask.
    """

    def __init__(
        self, endpoint: Endpoint, cache: Path | None, config: ChatConfig | None = None
    ) -> None:
        config = ChatConfig() if config is None else config
        self.endpoint, self.cache, self.usage = endpoint, cache, Usage()
        self._transport, self._dialect = Transport(endpoint, config), Dialect.of(config)
        self._attempts = 0

    def ask(
        self,
        messages: Sequence[Message],
        check: Callable[[Any], Checked],
        *,
        read: Callable[[Reply], Any] = read_json,
        show_fewer: Callable[[int], Sequence[Message]] | None = None,
        on_piece: Callable[[Piece], None] | None = None,
    ) -> Checked:
        """Returns the answer to messages, as `check` returns it.

        An answer that cannot be read, or that `check` refuses, is requested again `AGAIN` times with the complaint. A
        kept answer that `check` refuses is removed and requested again, too.

        Args:
            messages: the messages in the endpoint's format; the answer is requested as JSON.
            check: takes what `read` returns, raises InputError with what is wrong with it.
            read: returns the JSON value in an answer, raises InputError where it finds none; a reader of the caller's
                own accepts answers in other forms.
            show_fewer: returns the same messages with at most that many pictures, for an endpoint that takes few.
            on_piece: is called with each piece of the answer; the answer is streamed if this is given.

        Raises:
            RefusedAnswer: no answer is accepted. ChatError: there is no answer.
        """
        question = _Question(messages, show_fewer, on_piece)
        kept = self._find_kept(messages)
        self._attempts, tail, complaint = 0, [], ""
        text = _read_kept(kept)
        if text is not None:
            try:
                return check(parse_json(text))
            except InputError as error:
                kept.unlink(missing_ok=True)
                tail = _complain(text, str(error))
        for _ in range(1 + AGAIN):
            reply = self._complete(question, tail)
            try:
                answer = read(reply)
                checked = check(answer)
            except InputError as error:
                complaint = (
                    _explain_cut(reply)
                    if reply.cut_off
                    else self.endpoint.hide_secrets_in(str(error))
                )
                tail = _complain(reply.text, complaint)
                continue
            if kept is not None:
                with replace_atomically(kept) as unfinished:
                    unfinished.write_text(json.dumps(answer), encoding="utf-8")
            return checked
        raise RefusedAnswer(f"{1 + AGAIN} answers were refused, the last one because {complaint}")

    def _find_kept(self, messages: Sequence[Message]) -> Path | None:
        """Returns the path under which the answer to messages is kept."""
        name = _hash({"model": self.endpoint.model, "messages": list(messages)})
        return None if self.cache is None else self.cache / f"{name}.json"

    def _complete(self, question: _Question, tail: Sequence[Message]) -> Reply:
        """Returns one completion; what the endpoint refuses to accept is left out from then on."""
        dialect, model = self._dialect, self.endpoint.model
        stream = question.on_piece is not None
        while True:
            shown = self._fit(question, dialect.images)
            body = dialect.write(model, [*shown, *tail], stream=stream)
            try:
                reply = self._transport.send(body, lambda: self._start(question))
            except BadRequest as error:
                images = count_images(shown) if question.show_fewer else 0
                narrower = dialect.narrow(str(error), model=model, images=images, stream=stream)
                if narrower is None:
                    raise ChatError(f"{self.endpoint.url}: {error}") from None
                dialect = narrower
                continue
            except RefusedAnswer:
                self._dialect = dialect
                self.usage.requests += 1
                raise
            except ChatError as error:
                raise ChatError(f"{self.endpoint.url}: {error}") from None
            self._dialect = dialect
            self.usage.add(reply)
            return reply

    def _fit(self, question: _Question, limit: int) -> Sequence[Message]:
        images = count_images(question.messages)
        if not limit or images <= limit:
            return question.messages
        if question.show_fewer is None:
            raise ChatError(
                f"{images} pictures are to be shown, but the endpoint takes {limit} (chat.images)"
            )
        return question.show_fewer(limit)

    def _start(self, question: _Question) -> Callable[[str], None] | None:
        """Counts an attempt, and returns the function that receives its pieces."""
        self._attempts += 1
        attempt, tell = self._attempts, question.on_piece
        return None if tell is None else lambda text: tell(Piece(attempt, text))


def _complain(text: str, complaint: str) -> list[Message]:
    """Returns the messages that follow the first ones: the answer that cannot be used, and the reason."""
    refused = f"That answer cannot be used: {complaint}. Answer again, with JSON alone."
    # Half of a surrogate pair cannot be sent.
    sent = text.encode(errors="replace").decode()
    return [{"role": "assistant", "content": sent}, {"role": "user", "content": refused}]


def _explain_cut(reply: Reply) -> str:
    tokens = f" after {reply.completion_tokens} tokens" if reply.completion_tokens else ""
    return f"it was cut off{tokens} (finish_reason is length; chat.max_tokens, or a shorter answer)"


def _read_kept(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _hash(asked: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
