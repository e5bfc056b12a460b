"""Says how a chat endpoint is asked."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Count, NonNegativeFloat, Positive, PositiveFloat, Real, settings


@settings("chat")
class ChatConfig:
    """Says how a chat endpoint is asked; its address and key come from the environment (lct_jax/chat/endpoint.py).

    Attributes:
        connect: the most seconds that making a connection may take.
        timeout: the longest silence, in seconds, while an answer is awaited.
        deadline: the most seconds that a whole answer may take.
        tries: the most requests that are sent for one answer while the endpoint has a temporary problem, such as too
            many clients.
        pause: the seconds before the second of these requests; each further wait is twice as long.
        patience: the longest wait, in seconds, that an endpoint may ask for.
        answers: "json_object" asks for JSON in the request, "text" in the messages alone. temperature: a value below 0
            leaves it to the endpoint. images: the most pictures of a request; 0 sets no limit. If an endpoint refuses
            any of the three, later requests leave it out.
        max_tokens: the limit of an answer; 0 leaves it to the endpoint.
    """

    connect: PositiveFloat = 10.0
    timeout: PositiveFloat = 120.0
    deadline: PositiveFloat = 900.0
    tries: Positive = 5
    pause: NonNegativeFloat = 1.0
    patience: NonNegativeFloat = 120.0
    answers: Literal["json_object", "text"] = "json_object"
    temperature: Real = 0.0
    images: Count = 0
    max_tokens: Count = 0
