"""Reads the replies of an endpoint: the text of a completion, its tokens, or the name of the problem."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from lct_jax.chat.errors import BadRequest, ChatError, PassingError, RefusedAnswer

_PASSING = (408, 409, 425, 429)  # and every status from 500 on
_UNFIT = (400, 413, 415, 422)  # another form of the request may be accepted
_NOWHERE = (404, 405)  # nothing is there that takes requests
_SHOWN = 300  # characters of an endpoint's reason
_LENGTH = ("length", "max_tokens")


@dataclass
class Usage:
    """Counts what was spent: requests that were answered, and tokens as the endpoint counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Adds one reply."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens


@dataclass(frozen=True)
class Reply:
    """One completion.

    Attributes:
        text: the text of the answer. cut_off: whether the endpoint stopped it at a limit of tokens.
        prompt_tokens, completion_tokens: are 0 where the endpoint does not state them.
    """

    text: str
    cut_off: bool
    prompt_tokens: int
    completion_tokens: int


def read_reply(value: Any) -> Reply:
    """Returns the completion in the body of a reply.

    Raises:
        RefusedAnswer: the model or a filter refused. PassingError, BadRequest, ChatError: an error inside of the reply,
            or a body of another form.
    """
    if isinstance(value, dict) and value.get("error"):
        raise_error(find_status(value), read_reason(value))
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if isinstance(choice, dict) and choice.get("error"):
        raise_error(find_status(choice), read_reason(choice))
    if not isinstance(message, dict):
        raise PassingError(f"the reply is no chat completion: {shorten(json.dumps(value))}")
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    return read_message(message, finish=choice.get("finish_reason"), usage=usage)


def read_message(message: dict[str, Any], *, finish: Any, usage: dict[str, Any]) -> Reply:
    """Returns the completion of a message, which was received whole or in pieces; raises the errors of `read_reply`."""
    if isinstance(message.get("refusal"), str) and message["refusal"].strip():
        raise RefusedAnswer(f"the model refused: {shorten(message['refusal'])}")
    if finish == "content_filter":
        raise RefusedAnswer("the endpoint's content filter stopped the answer")
    text = join_parts(message.get("content"))
    cut_off = finish in _LENGTH
    if not text.strip():
        # Some servers mark a whole answer as reasoning.
        text = next(
            filter(None, (join_parts(message.get(f"reasoning{x}")) for x in ("_content", ""))), ""
        )
        if (cut_off or "{" not in text) and text:
            raise RefusedAnswer(
                f"the model reasoned ({len(text)} characters) and gave no answer"
                + (": it reached its limit of tokens, see chat.max_tokens" if cut_off else "")
            )
    if not text.strip():
        raise PassingError(_explain_silence(message, finish))
    counts = [_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion")]
    return Reply(text, cut_off, *counts)


def join_parts(content: Any) -> str:
    """Returns content as one text: a text as it is, the text parts of a list joined, JSON as text."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return json.dumps(content, ensure_ascii=False)
    parts = content if isinstance(content, list) else []
    texts = [part if isinstance(part, str) else _text_of(part) for part in parts]
    return "".join(texts)


def read_reason(value: Any) -> str:
    """Returns the reason in the body of an error, whichever of the known forms it has; "" where there is none."""
    if isinstance(value, list) and value:
        # Google puts a list around it.
        value = value[0]
    for key in ("error", "message", "detail", "msg", "errors"):
        inner = value.get(key) if isinstance(value, dict) else None
        if isinstance(inner, str) and inner.strip():
            return shorten(inner)
        if isinstance(inner, list) and inner:
            inner = inner[0] if isinstance(inner[0], dict) else {"message": str(inner[0])}
        if isinstance(inner, dict):
            return read_reason(inner) or shorten(json.dumps(inner))
    return ""


def read_page(text: str) -> str:
    """Returns a summary of a body that is no JSON: the title of a web page, or its first words."""
    if re.match(r"\s*<", text):
        title = re.search(r"<(title|h1)[^>]*>(.*?)</\1>", text, re.DOTALL | re.IGNORECASE)
        said = shorten(html.unescape(re.sub(r"<[^>]+>", " ", title[2]))) if title else ""
        return f"a web page{f' ({said})' if said else ''} in place of JSON: a proxy, or another LCT_CHAT_URL"
    return f"no JSON: {shorten(text)!r}" if text.strip() else "nothing"


def find_status(value: dict[str, Any]) -> int:
    """Returns the HTTP status that an error within a reply names; 500 if it names none."""
    error = value.get("error")
    code = error.get("code", error.get("status")) if isinstance(error, dict) else value.get("code")
    code = int(code) if isinstance(code, str) and re.fullmatch("[0-9]{3}", code) else code
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def raise_error(status: int, reason: str, wait: float | None = None) -> None:
    """Raises the error that a status and a reason stand for: PassingError, BadRequest or ChatError."""
    said = f"HTTP {status}{f': {reason}' if reason else ''}"
    spent = re.search(
        r"insufficient.quota|billing|credit balance|exceeded your current quota",
        reason,
        re.IGNORECASE,
    )
    if (status in _PASSING or status >= 500) and not spent:
        raise PassingError(said, wait)
    if status in _UNFIT:
        raise BadRequest(said)
    if status in _NOWHERE and "model" not in reason.lower():
        said += " (LCT_CHAT_URL is the address before /chat/completions, which mostly ends in /v1)"
    raise ChatError(said)


def shorten(text: str) -> str:
    """Returns a text on one line, shortened if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _text_of(part: Any) -> str:
    """Returns the text of one part of a content list; reasoning and pictures have none."""
    text = part.get("text") if isinstance(part, dict) else None
    kind = part.get("type", "text") if isinstance(part, dict) else ""
    return text if isinstance(text, str) and kind in ("text", "output_text") else ""


def _explain_silence(message: dict[str, Any], finish: Any) -> str:
    if message.get("tool_calls") or message.get("function_call"):
        return "the model called a tool and gave no answer"
    found = "null" if message.get("content") is None else "empty"
    return f"the reply holds no text (content is {found}, finish_reason {finish!r})"


def _count(value: Any) -> int:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if number and math.isfinite(value) and value >= 0 else 0
