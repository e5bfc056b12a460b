"""Says what a network of image features is, and finds one by the name of its file in this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from PIL import Image

from lct_jax.plugins import find_plugin


class ImageFeatures(Protocol):
    """Maps pictures to vectors whose cosine says how alike two pictures are.

    Attributes:
        title: what it is, with its source, for the table.
    """

    title: str

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 RGB [N, X, Y, 3] to float32 [N, D], of any length."""
        ...


class LoadsFeatures(Protocol):
    """What a file in this folder defines as `FEATURES`."""

    def load(self, folder: Path) -> ImageFeatures:
        """Returns the features.

        Args:
            folder: holds converted weights, or receives them at the first use.

        Raises:
            InputError: the weights are not there; the message says what to install or to put where.
        """
        ...


def load_features(name: str, *, folder: Path) -> ImageFeatures:
    """Returns the features that a file of this folder defines; raises InputError for an unknown name or no weights."""
    plugin: LoadsFeatures = find_plugin(
        name, package="lct_jax.evaluation.features", attribute="FEATURES", field="--features"
    )
    return plugin.load(folder)


def embed_in_batches(
    forward: Callable[[np.ndarray], jax.Array], pictures: np.ndarray, *, size: int
) -> np.ndarray:
    """Returns float32 [N, D] of pictures [N, ...], `size` at a time, so that one program serves any number."""
    padding = -len(pictures) % size
    padded = np.concatenate([pictures, np.repeat(pictures[-1:], padding, axis=0)])
    parts = [forward(padded[i : i + size]) for i in range(0, len(padded), size)]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])[: len(pictures)]


def resize_bicubic(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns whole pictures uint8 [N, height, width, 3], whatever their aspect ratio was, by a bicubic filter."""
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    for place, frame in enumerate(frames):
        image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        resized[place] = np.asarray(image)
    return resized
