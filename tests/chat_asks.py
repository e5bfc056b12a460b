"""Asks a chat endpoint for a number: a request, the check of its answer, and what tests of the client share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lct_jax.chat import Chat, ChatError, show_image
from lct_jax.chat.endpoint import make_endpoint
from lct_jax.config import ChatConfig
from lct_jax.errors import InputError

ASKED = [{"role": "user", "content": "How many?"}]
KEY = "sk-not-to-be-seen"
GOOD = '{"count": 3}'


def make_chat(url: str, folder: Path | None, key: str = KEY, **changes: Any) -> Chat:
    """Returns a client that waits for hardly any time; `changes` are fields of its config.

    It keeps answers below `folder`, or nowhere.
    """
    config = ChatConfig(**{"timeout": 1.0, "pause": 0.01, **changes})
    cache = None if folder is None else folder / "cache"
    return Chat(make_endpoint(url, "some-model", key), cache, config)


def count(value: Any) -> int:
    """Accepts {"count": whole number}."""
    if not isinstance(value, dict) or not isinstance(value.get("count"), int):
        raise InputError(f"count: found {value!r}, expected a whole number")
    return value["count"]


def fail(url: str, folder: Path, **changes: Any) -> str:
    """Returns the error message of a request without an answer."""
    with pytest.raises(ChatError) as caught:
        make_chat(url, folder, **changes).ask(ASKED, count)
    return str(caught.value)


def show_pictures(number: int) -> list[dict[str, Any]]:
    """Returns messages that show so many pictures."""
    picture = show_image(np.zeros((8, 8, 3), np.uint8))
    return [{"role": "user", "content": [{"type": "text", "text": "?"}, *[picture] * number]}]


def count_pictures(asked: dict[str, Any]) -> int:
    """Returns the number of pictures in a request."""
    return json.dumps(asked).count('"image_url":')
