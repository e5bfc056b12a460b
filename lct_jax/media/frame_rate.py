"""Times and frame numbers: the only place where one is turned into the other.

Frame n of a target rate is what is on screen a quarter of a frame after n / fps seconds, so that a timestamp's rounding
does not matter where the rates agree. A frame of the target rate belongs to the shot that is on screen when it is
shown: a shot that begins at a time has the frames from `first_frame` on. All of this is exact, in fractions: 24000/1001
frames a second against 12 come arbitrarily close to a tie, and a float that falls on the wrong side of one puts a frame
of a neighbour into a shot.
"""

from __future__ import annotations

import math
from fractions import Fraction

LAG = Fraction(1, 4)  # of a frame: how long after n / fps frame n is taken
_FINEST = (
    10**6
)  # largest denominator of a rate: what a float holds of 24000/1001 is read back exactly
_TICKS = (
    2  # by which the time since the first frame, a difference of two rounded timestamps, may be off
)
_DIGITS = (
    2  # decimals from which on a written rate may be another one's, rounded: 23.98 for 24000/1001
)


def read_rate(fps: float | Fraction) -> Fraction:
    """Returns a rate above 0 that was kept as a float as the fraction that it stands for."""
    return Fraction(fps).limit_denominator(_FINEST) or Fraction(fps)


def first_frame(time: Fraction, fps: Fraction) -> int:
    """Returns the number of the first frame at `fps` that is shown at `time` (seconds) or later."""
    return math.ceil(time * fps - LAG)


def count_frames(start: int, end: int, *, counted: Fraction, fps: Fraction) -> tuple[int, int]:
    """Returns the range [start, end) of frames counted at one rate as a range of frames at `fps`.

    It is empty where no frame at `fps` is shown in that time.
    """
    return first_frame(start / counted, fps), first_frame(end / counted, fps)


def find_counted(counted: float, own: Fraction, *, fps: float) -> Fraction:
    """Returns the rate at which a list counts the frames of a video, whose own rate is `own` and that is read at `fps`.

    It is the video's own where the list gives that one with fewer digits (23.976, 23.98 or 23.97 for 24000/1001): or
    two hours into a film the list would be off by a second. A rate with no more than one decimal is what it
    says, and so is the one at which the video is read: those lists pass through as they are.
    """
    digits = len(repr(float(counted)).partition(".")[2])
    near = abs(read_rate(counted) - own) < Fraction(1, 10**digits)
    return own if digits >= _DIGITS and near and counted != fps else read_rate(counted)


def snap_time(time: Fraction, *, rate: Fraction, tick: Fraction) -> Fraction:
    """Returns the time at which a frame begins, without the rounding of its timestamp.

    Containers round timestamps to ticks, such as a millisecond in Matroska. Where a whole number of frames at the
    stream's rate lies within that rounding, it is what was meant.

    Args:
        time: seconds since the first frame. rate: frames a second of the stream. tick: seconds of the clock's unit.
    """
    meant = round(time * rate) / rate
    return meant if abs(meant - time) <= _TICKS * tick else time
