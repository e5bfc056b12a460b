"""A client of any OpenAI-compatible chat endpoint that answers in JSON: one for captions, one for whoever else asks.

Messages enter, a checked answer leaves, with the tokens it took. The endpoint, the model and the key come from the
environment (`LCT_CHAT_URL`, `LCT_CHAT_MODEL`, `LCT_CHAT_KEY`) and the key goes nowhere else. Answers are kept on disk
by the content of what was asked, so a rerun pays for nothing twice.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

Checked = TypeVar("Checked")
Message = dict[str, Any]
AGAIN = 2  # times that a malformed answer is asked for again
_BUSY = (408, 409, 425, 429)  # and every 5xx: worth another try


class ChatError(Exception):
    """The endpoint gave no answer; the message says why. Asking again later may help."""


class RefusedAnswer(ChatError):
    """The endpoint answered, and no answer could be used. Asking again is asking for the same."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. `key` is sent as a bearer token and is kept out of `repr`.

    Attributes:
        url: base URL, such as http://localhost:8000/v1. model: name the endpoint knows.
        timeout: seconds for one answer. tries: attempts before giving up. pause: seconds before the second, doubled
            for each further one.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    tries: int = 5
    pause: float = 1.0


@dataclass
class Usage:
    """What was spent: requests that were answered, and tokens as the endpoint counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def endpoint_from_environment() -> Endpoint:
    """The endpoint; raises InputError naming a variable that is missing."""
    values = {name: os.environ.get(f"LCT_CHAT_{name.upper()}", "") for name in ("url", "model")}
    for name, value in values.items():
        if not value:
            raise InputError(f"LCT_CHAT_{name.upper()}: not set in the environment")
    if not values["url"].startswith(("http://", "https://")):
        raise InputError(f"LCT_CHAT_URL: found {values['url']!r}, expected http:// or https://")
    return Endpoint(**values, key=os.environ.get("LCT_CHAT_KEY", ""))


def show_image(frame: np.ndarray) -> Message:
    """The part of a message that shows a picture, uint8 RGB [X, Y, 3], as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


class Chat:
    """Asks an endpoint, keeps accepted answers in a folder and counts tokens."""

    def __init__(self, endpoint: Endpoint, cache: Path) -> None:
        self.endpoint, self.cache, self.usage = endpoint, cache, Usage()

    def ask(self, messages: Sequence[Message], check: Callable[[Any], Checked]) -> Checked:
        """The answer to messages, as `check` returns it.

        Args:
            messages: as the endpoint takes them; the answer is asked for as JSON.
            check: takes the parsed JSON, raises InputError with what is wrong with it.

        An answer that is no JSON or that `check` refuses is asked for again `AGAIN` times, with the complaint.

        Raises:
            RefusedAnswer: there is none that is accepted. ChatError: there is no answer.
        """
        asked = {"model": self.endpoint.model, "messages": list(messages)}
        kept = self.cache / f"{_hash(asked)}.json"
        if kept.exists():
            return check(json.loads(kept.read_text(encoding="utf-8")))
        complaint = ""
        for _ in range(1 + AGAIN):
            text = self._complete(asked)
            try:
                answer = parse_json(text)
                checked = check(answer)
            except InputError as error:
                complaint = str(error)
                refused = f"That answer cannot be used: {complaint}. Answer again, with JSON alone."
                asked["messages"] = [
                    *messages,
                    {"role": "assistant", "content": text},
                    {"role": "user", "content": refused},
                ]
                continue
            with replace_atomically(kept) as unfinished:
                unfinished.write_text(json.dumps(answer), encoding="utf-8")
            return checked
        raise RefusedAnswer(f"{1 + AGAIN} answers were refused, the last one because {complaint}")

    def _complete(self, asked: dict[str, Any]) -> str:
        """One completion; what may pass (busy, slow, cut short) is tried again after a growing pause."""
        endpoint, problem = self.endpoint, ""
        for attempt in range(endpoint.tries):
            try:
                return self._read(_post(endpoint, asked))
            except urllib.error.HTTPError as error:
                problem, wait = f"HTTP {error.code}", error.headers.get("Retry-After", "")
                error.close()
                if error.code not in _BUSY and error.code < 500:
                    raise ChatError(f"{endpoint.url}: {problem}") from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem, wait = f"{type(error).__name__}: {error}", ""
            if attempt + 1 < endpoint.tries:
                pause = endpoint.pause * 2**attempt * random.uniform(0.5, 1.5)
                time.sleep(max(pause, min(float(wait), 60.0)) if wait.isdigit() else pause)
        raise ChatError(f"{endpoint.url}: {endpoint.tries} tries, the last: {problem}")

    def _read(self, reply: dict[str, Any]) -> str:
        """The text of a reply, its tokens counted; ValueError for a reply of another form."""
        try:
            text = reply["choices"][0]["message"]["content"]
            usage = reply.get("usage") or {}
            counts = [int(usage.get(f"{name}_tokens", 0)) for name in ("prompt", "completion")]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ValueError("the reply is no chat completion") from None
        if not isinstance(text, str):
            raise ValueError("the reply holds no text")
        self.usage.requests += 1
        self.usage.prompt_tokens += counts[0]
        self.usage.completion_tokens += counts[1]
        return text


def parse_json(text: str) -> Any:
    """JSON of an answer, with or without a fence of backquotes around it; InputError where it is none."""
    body = text.strip()
    if body.startswith("```"):
        body = body.split("\n", 1)[-1].rsplit("```", 1)[0]
    try:
        return json.loads(body, object_pairs_hook=_unique)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"it is not JSON ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):  # JSON itself would keep the last and lose the first
        names = [name for name, _ in pairs]
        raise InputError(f"key {max(names, key=names.count)!r} is written twice in one object")
    return members


def _post(endpoint: Endpoint, asked: dict[str, Any]) -> dict[str, Any]:
    body = {**asked, "response_format": {"type": "json_object"}, "temperature": 0}
    request = urllib.request.Request(
        endpoint.url.rstrip("/") + "/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    if endpoint.key:  # not among the headers that urllib carries over to another host
        request.add_unredirected_header("Authorization", f"Bearer {endpoint.key}")
    with urllib.request.urlopen(request, timeout=endpoint.timeout) as reply:
        return json.loads(reply.read())


def _hash(asked: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
