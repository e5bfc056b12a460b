"""Refuses interlaced footage that is not marked as such: two fields of different moments in frames marked as
progressive.

Where something moves, every other line of such a frame is from another moment, so that lines differ from both of their
neighbours in the same direction. Textures do that along rows and along columns alike, interlaced fields along rows
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lct_jax.errors import InputError

_EVERY = 4  # one of so many frames is examined
_STEP = 20  # grey levels by which a line stands out from both neighbours
_SHARE = 0.003  # share of such pixels in a combed frame
_RATIO = 4.0  # ratio of such pixels along rows to those along columns
_FRAMES = 0.3  # share of combed frames in interlaced footage
_FEWEST = 3  # fewest combed frames by which footage is judged


def refuse_combed(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    """Yields uint8 RGB frames [X, Y, 3] as they come.

    Raises:
        InputError: at the end of the frames, if a large share of them is combed.
    """
    examined = combed = 0
    for number, frame in enumerate(frames):
        yield frame
        if number % _EVERY == 0:
            examined, combed = examined + 1, combed + is_combed(frame)
    if combed >= max(_FEWEST, _FRAMES * examined):
        raise InputError(
            f"{path}: looks interlaced ({combed} of {examined} frames looked at have combs) but is marked progressive:"
            " deinterlace it before"
        )


def is_combed(frame: np.ndarray) -> bool:
    """Returns whether a uint8 RGB frame [X, Y, 3] is combed, as two fields of different moments are."""
    green = frame[..., 1].astype(np.int16)
    rows = _share(green)
    return rows >= _SHARE and rows >= _RATIO * _share(green.T)


def _share(grey: np.ndarray) -> float:
    """Returns the share of pixels [X, Y] whose line stands out from the lines before and after."""
    before, behind = grey[1:-1] - grey[:-2], grey[1:-1] - grey[2:]
    high = (before >= _STEP) & (behind >= _STEP)
    low = (before <= -_STEP) & (behind <= -_STEP)
    return float((high | low).mean()) if high.size else 0.0
