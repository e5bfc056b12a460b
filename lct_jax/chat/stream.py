"""Reads streamed completions: turns server-sent events into the reply that a whole request would give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import httpx2

from lct_jax.chat.errors import PassingError
from lct_jax.chat.read_json import load_json
from lct_jax.chat.reply import (
    Reply,
    find_status,
    join_parts,
    raise_error,
    read_message,
    read_reason,
    shorten,
)

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def read_stream(
    events: Iterable[httpx2.ServerSentEvent],
    hear: Callable[[str], None],
    *,
    hide: Callable[[str], str] = str,
) -> Reply:
    """Returns the completion that the events form together; `hear` is called with each piece of its text.

    Args:
        hide: removes secrets from texts that become part of a message.

    Raises:
        PassingError: the stream ended before the answer did, or holds an error that may pass. The other errors are
            those of `lct_jax.chat.reply.read_reply`.
    """
    message: dict[str, Any] = {}
    finish, usage, done = None, {}, False
    for event in events:
        if not event.data.strip():
            # Nothing but the number of an event, or the pause before a reconnection.
            continue
        if event.data.strip() == "[DONE]":
            done = True
            break
        chunk = _read_chunk(event.data, hide)
        usage = chunk["usage"] if isinstance(chunk.get("usage"), dict) else usage
        choices = chunk.get("choices")
        choice = (
            choices[0]
            if isinstance(choices, list) and choices and isinstance(choices[0], dict)
            else {}
        )
        finish = choice.get("finish_reason") or finish
        # Some servers send the whole answer as one event.
        delta = choice.get("delta") or choice.get("message")
        delta = delta if isinstance(delta, dict) else {}
        for name in _TEXTS:
            piece = join_parts(delta.get(name))
            if piece:
                message[name] = message.get(name, "") + piece
                if name == "content":
                    hear(piece)
        if delta.get("tool_calls"):
            message["tool_calls"] = delta["tool_calls"]
    if not done and finish is None:
        raise PassingError("the stream ended before the answer did")
    if "refusal" in message:
        message["refusal"] = hide(message["refusal"])
    return read_message(message, finish=finish, usage=usage)


def _read_chunk(data: str, hide: Callable[[str], str]) -> dict[str, Any]:
    try:
        chunk = load_json(data)
    except ValueError:
        raise PassingError(f"an event of the stream is not JSON: {shorten(hide(data))!r}") from None
    if not isinstance(chunk, dict):
        raise PassingError(f"an event of the stream is no completion: {shorten(hide(data))!r}")
    if chunk.get("error"):
        raise_error(find_status(chunk), read_reason(load_json(hide(data))))
    return chunk
