"""Defines what an endpoint can do instead of answering, as exceptions whose messages are meant to be read."""

from __future__ import annotations


class ChatError(Exception):
    """Says that the endpoint gave no answer; the message gives the reason. A later request may succeed."""


class RefusedAnswer(ChatError):
    """Says that no answer of the endpoint could be used. The same request would give the same at once."""


class PassingError(ChatError):
    """Says that a temporary problem occurred, such as a busy endpoint; another try may succeed.

    Attributes:
        wait: seconds that the endpoint asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class BadRequest(ChatError):
    """Says that the endpoint does not accept the request; the message is the endpoint's own reason."""
