"""How a chat endpoint is asked."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Count, NonNegativeFloat, Positive, PositiveFloat, Real, settings


@settings("chat")
class ChatConfig:
    """How a chat endpoint is asked; where it is and its key come from the environment (lct_jax/chat/endpoint.py).

    Attributes:
        connect: seconds for a connection. timeout: seconds of silence after which an answer is given up.
        deadline: seconds for a whole answer.
        tries: requests before a problem that may pass, such as a busy endpoint, is given up. pause: seconds before the
            second one, doubled for each further one. patience: longest wait in seconds that an endpoint may ask for.
        answers: "json_object" asks for JSON in the request, "text" in the messages alone. temperature: below 0 it is
            left to the endpoint. images: most pictures of a request, 0: as many as there are. An endpoint that refuses
            any of the three says so, and it is learnt from that.
        max_tokens: of an answer, 0: left to the endpoint.
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
