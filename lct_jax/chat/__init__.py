"""A client of any OpenAI-compatible chat endpoint, for captions and other uses of language models."""

from lct_jax.chat.client import AGAIN, Chat, Piece
from lct_jax.chat.endpoint import Endpoint, Secret, endpoint_from_environment
from lct_jax.chat.errors import ChatError, RefusedAnswer
from lct_jax.chat.messages import Message, show_image
from lct_jax.chat.read_json import parse_json
from lct_jax.chat.reply import Usage

__all__ = [
    "AGAIN",
    "Chat",
    "ChatError",
    "Endpoint",
    "Message",
    "Piece",
    "RefusedAnswer",
    "Secret",
    "Usage",
    "endpoint_from_environment",
    "parse_json",
    "show_image",
]
