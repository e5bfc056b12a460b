"""Joins a shot to the frames that it goes on from, so that no jump of the codec's making is seen between them.

A shot with an overlap begins with the end of the shot before, which the codec has encoded and decoded once more. What
that loses would be gone from one frame to the next, most of all behind a given video, which is in the film as it is.
So what was lost of the last frame that is taken over is added to the first new frame, and to each one behind it a
little less.
"""

from __future__ import annotations

import numpy as np


def go_on(before: np.ndarray | None, shot: np.ndarray, overlap: int) -> np.ndarray:
    """Returns the frames of a shot that are in the film: uint8[frames - overlap, height, width, 3].

    Args:
        before: the frames before the shot in the film, uint8[some, height, width, 3]; None where the film has another
            shot there, or none.
        shot: all frames of the shot, as decoded.
        overlap: how many of them are those of the shot before.
    """
    new = shot[overlap:]
    if not overlap or before is None:
        return new
    lost = before[-1].astype(np.float32) - shot[overlap - 1]
    left = 1.0 - np.arange(len(new), dtype=np.float32) / len(new)
    return np.clip(np.rint(new + left[:, None, None, None] * lost), 0, 255).astype(np.uint8)
