"""Small pictures as image features, without a network and without weights: what is where, by its colour alone.

A picture is reduced to 9x16 pixels and its mean grey level of 128 is taken away, so that unlike pictures have a cosine
about zero or below. It is a coarse measure, for machines where no weights are installed and for tests.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

_ROWS, _COLUMNS = 9, 16


class Thumbnail:
    """An `ImageFeatures` of 432 numbers: 9 rows, 16 columns, red, green and blue, in -1..1."""

    title = "thumbnails of 9x16 pixels"

    @classmethod
    def load(cls, folder: Path) -> Thumbnail:
        """Returns the features; there is nothing to load."""
        del folder
        return cls()

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 RGB [N, X, Y, 3] to float32 [N, 432]."""
        small = [
            cv2.resize(frame, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA) for frame in frames
        ]
        return np.stack(small).reshape(len(frames), -1).astype(np.float32) / 127.5 - 1.0


FEATURES = Thumbnail
