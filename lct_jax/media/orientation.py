"""Turns decoded frames upright, as the camera was held, and takes back the mirroring of front cameras.

A container says by a matrix how a stored frame is shown: x' = a x + c y, y' = b x + d y [ISO/IEC 14496-12, 8.3.2]. The
angle that FFmpeg derives from it cannot tell a mirrored picture from one that is upside down. Turns are taken to the
nearest quarter.
"""

from __future__ import annotations

import struct

import av
import numpy as np

_MATRIX = "DISPLAYMATRIX"  # FFmpeg's: nine signed integers of 32 bits, of which the third column is not of interest


def lies_on_side(frame: av.VideoFrame) -> bool:
    """Returns whether rows of a stored frame are shown as columns."""
    a, b, c, d = _read_matrix(frame)
    return abs(b) + abs(c) > abs(a) + abs(d)


def turn_upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Returns the picture [X, Y, 3] of a stored frame as it is shown; a view, [Y, X, 3] where it lies on its side."""
    a, b, c, d = _read_matrix(frame)
    down, right = d, a
    if lies_on_side(frame):
        picture, down, right = picture.swapaxes(0, 1), b, c
    return picture[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def _read_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    if _MATRIX not in frame.side_data:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(frame.side_data[_MATRIX]))
    return a, b, c, d
