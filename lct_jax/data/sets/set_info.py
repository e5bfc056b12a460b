"""Writes and reads the card of a prepared set: how it was made, what it holds, and in which shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lct_jax.data.sets.lengths import MAKE_AGAIN
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

FORMAT = "lct_jax.records/2"
CARD_FILE = "card.json"
# This stands in place of a codec: records hold frames, to be encoded later.
PIXELS = "pixels"


@dataclass(frozen=True)
class Made:
    """Says with what the records of a set are made.

    Attributes:
        codec, encoder: identities, with the hash of their weights; training and sampling refuse others.
        channels, text_width: widths of latents and text tokens. height, width: whose product is the area of a frame.
        fps: frames a second.
    """

    codec: str
    encoder: str
    channels: int
    text_width: int
    height: int
    width: int
    fps: float


@dataclass(frozen=True)
class Card(Made):
    """Describes a prepared set.

    Attributes:
        credit: the line to show with anything made from the set.
        shards: the folders under `shards/`, in record order.
        counts: films, scenes and shots, by split. hours: of footage in shots, by split.
        histograms: shots by scenes' shot count, by seconds, and by pixel size.
        aspect_error: largest stretch of a picture.
    """

    credit: str
    shards: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    hours: Mapping[str, float]
    histograms: Mapping[str, Mapping[str, int]]
    aspect_error: float


def write_card(folder: Path, card: Card) -> None:
    """Writes the card, complete or not at all."""
    with replace_atomically(folder / CARD_FILE) as unfinished:
        unfinished.write_text(render_card(card), encoding="utf-8")


def render_card(card: Card) -> str:
    """Returns the text of the card's file."""
    return json.dumps({"format": FORMAT, **asdict(card)}, indent=1)


def read_card(folder: Path) -> Card:
    """Returns the card of a prepared set; raises InputError if there is none or it has another format."""
    path = folder / CARD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        unfinished = f": {MAKE_AGAIN}" if (folder / "shards").is_dir() else ""
        raise InputError(
            f"{path}: not found, expected a set made by lct_jax.data.prepare{unfinished}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    found = values.pop("format", None) if isinstance(values, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: found format {found!r}, expected {FORMAT!r}: {MAKE_AGAIN}")
    names = {field.name for field in fields(Card)}
    if values.keys() != names:
        differing = ", ".join(sorted(values.keys() ^ names))
        raise InputError(f"{path}: missing or unknown keys: {differing}")
    return Card(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
