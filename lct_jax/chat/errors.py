"""What an endpoint can do instead of answering, as exceptions whose messages are meant to be read."""

from __future__ import annotations


class ChatError(Exception):
    """The endpoint gave no answer; the message says why. Asking again later may help."""


class RefusedAnswer(ChatError):
    """The endpoint answered, and no answer could be used. Asking the same endpoint again at once gives the same."""


class PassingError(ChatError):
    """A problem that may pass, such as a busy endpoint: the request is worth another try.

    Attributes:
        wait: seconds that the endpoint asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class BadRequest(ChatError):
    """The endpoint does not take the request as it is; the message is the endpoint's own reason."""
