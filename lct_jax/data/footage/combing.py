"""Interlaced footage that does not say so: two fields of different moments woven into frames marked as progressive.

Where something moves, every other line of such a frame is from another moment, so that lines differ from both of their
neighbours in the same direction. Textures do that along rows and along columns alike, woven fields along rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lct_jax.errors import InputError

_EVERY = 4  # frames of which one is looked at
_STEP = 20  # grey levels by which a line stands out from both neighbours
_SHARE = 0.003  # of pixels, in a frame that is combed
_RATIO = 4.0  # of such pixels along rows to those along columns
_FRAMES = 0.3  # share of frames that are combed, in footage that is interlaced
_FEWEST = 3  # combed frames by which footage is judged


def refuse_combed(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    """Yields uint8 RGB frames [X, Y, 3] as they come.

    Raises:
        InputError: at their end, where a large share of them is combed.
    """
    looked = combed = 0
    for number, frame in enumerate(frames):
        yield frame
        if number % _EVERY == 0:
            looked, combed = looked + 1, combed + is_combed(frame)
    if combed >= max(_FEWEST, _FRAMES * looked):
        raise InputError(
            f"{path}: looks interlaced ({combed} of {looked} frames looked at have combs) but is marked progressive:"
            " deinterlace it before"
        )


def is_combed(frame: np.ndarray) -> bool:
    """Whether a uint8 RGB frame [X, Y, 3] has the combs of two fields."""
    green = frame[..., 1].astype(np.int16)
    rows = _share(green)
    return rows >= _SHARE and rows >= _RATIO * _share(green.T)


def _share(grey: np.ndarray) -> float:
    """Returns the share of pixels [X, Y] whose line stands out from the lines before and behind."""
    before, behind = grey[1:-1] - grey[:-2], grey[1:-1] - grey[2:]
    high = (before >= _STEP) & (behind >= _STEP)
    low = (before <= -_STEP) & (behind <= -_STEP)
    return float((high | low).mean()) if high.size else 0.0
