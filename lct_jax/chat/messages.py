"""Makes messages for OpenAI-compatible endpoints, and counts their pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

Message = dict[str, Any]


def show_image(frame: np.ndarray) -> Message:
    """Returns the part of a message that shows a picture, uint8 RGB [X, Y, 3], as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


def count_images(messages: Sequence[Message]) -> int:
    """Returns the number of pictures that messages show."""
    parts = [part for message in messages for part in message["content"]]
    return sum(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)
