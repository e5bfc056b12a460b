"""Decides what a request to an endpoint holds: as configured at first, then narrowed by the endpoint's refusals.

Endpoints call themselves compatible and differ in what they take: some know no `response_format` of type `json_object`,
some take the default temperature alone, some take few pictures, and newer ones call `max_tokens` by another name. The
reason of an endpoint's status 400 says which of these it does not support, and the next request leaves it out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lct_jax.chat.messages import Message
from lct_jax.config import ChatConfig

_PICTURES = re.compile(
    r"\bimages?\b|image_url|pictures?\b|multi-?modal|limit-mm|image\(s\)", re.IGNORECASE
)
_TOO_LARGE = re.compile(
    r"HTTP 413|context.?(length|window|size)|too (large|long|many tokens)|maximum.{0,20}tokens",
    re.IGNORECASE,
)
_NEVER = re.compile(
    r"not? (\w+ )?(support|accept|allow)|unsupported|cannot|no vision|text.only", re.IGNORECASE
)
_JSON = re.compile(
    r"response_?format|json_object|json_schema|json.mode|structured.output|guided", re.IGNORECASE
)


@dataclass(frozen=True)
class Dialect:
    """Says what is written into requests.

    Attributes:
        json_mode: whether `response_format` asks for a JSON object.
        temperature: None leaves it to the endpoint. images: the most pictures of a request; 0 sets no limit.
        max_tokens: the limit of an answer; 0 leaves it to the endpoint. tokens_field: the name of the field with this
            limit.
        counts_streams: whether a stream is to end with its count of tokens.
    """

    json_mode: bool
    temperature: float | None
    images: int
    max_tokens: int
    tokens_field: str = "max_tokens"
    counts_streams: bool = True

    @classmethod
    def of(cls, config: ChatConfig) -> Dialect:
        """Returns the dialect that a config asks for."""
        return cls(
            json_mode=config.answers == "json_object",
            temperature=None if config.temperature < 0 else config.temperature,
            images=config.images,
            max_tokens=config.max_tokens,
        )

    def write(self, model: str, messages: Sequence[Message], *, stream: bool) -> dict[str, Any]:
        """Returns the body of a request."""
        body: dict[str, Any] = {"model": model, "messages": list(messages)}
        if self.json_mode:
            body["response_format"] = {"type": "json_object"}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.max_tokens:
            body[self.tokens_field] = self.max_tokens
        if stream:
            body["stream"] = True
            if self.counts_streams:
                body["stream_options"] = {"include_usage": True}
        return body

    def narrow(self, reason: str, *, model: str, images: int, stream: bool) -> Dialect | None:
        """Returns the dialect to try after an endpoint refused this one; None where nothing is left to try.

        Args:
            reason: the reason that the endpoint gives. images: the number of pictures shown, which could be fewer.
                stream: whether the answer was requested as a stream.
        """
        said = reason.replace(model, "")
        change = dataclasses.replace
        if "stream_options" in said and stream and self.counts_streams:
            return change(self, counts_streams=False)
        if _JSON.search(said) and self.json_mode:
            return change(self, json_mode=False)
        if re.search(r"max_(completion_)?tokens", said) and self.max_tokens:
            renamed = "max_completion_tokens"
            return (
                change(self, max_tokens=0)
                if self.tokens_field == renamed
                else change(self, tokens_field=renamed)
            )
        if "temperature" in said.lower() and self.temperature is not None:
            return change(self, temperature=None)
        if images and (_PICTURES.search(said) or _TOO_LARGE.search(said)):
            limit = _find_limit(said, images)
            return change(self, images=limit) if limit else None
        return self._drop_any(stream)

    def _drop_any(self, stream: bool) -> Dialect | None:
        """Returns the dialect without one field that endpoints are known to refuse, where the reason names none."""
        if stream and self.counts_streams:
            return dataclasses.replace(self, counts_streams=False)
        if self.json_mode:
            return dataclasses.replace(self, json_mode=False)
        if self.temperature is not None:
            return dataclasses.replace(self, temperature=None)
        return None


def _find_limit(reason: str, images: int) -> int:
    """Returns how many pictures to show if there were too many: the number in the reason, or half; 0 for none."""
    numbers = [int(number) for number in re.findall(r"\b\d{1,6}\b", reason)]
    named = max((number for number in numbers if 0 < number < images), default=0)
    if named:
        return named
    return 0 if _NEVER.search(reason) and not _TOO_LARGE.search(reason) else images // 2
