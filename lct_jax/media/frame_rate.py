"""Converts between times and frame numbers; no other module does.

Frame n of a target rate is the frame on screen a quarter of a frame after n / fps seconds, so that a timestamp's
rounding does not matter where the rates agree. A frame of the target rate belongs to the shot that is on screen when it
is shown: a shot that begins at a time has the frames from `first_frame` on. All of this is exact, in fractions:
24000/1001 frames a second against 12 come arbitrarily close to a tie, and a float that falls on the wrong side of one
puts a frame of a neighbour into a shot.
"""

from __future__ import annotations

import math
from fractions import Fraction

LAG = Fraction(1, 4)  # of a frame: frame n is taken so long after n / fps
# The largest denominator of a rate, at which a float of 24000/1001 is read back exactly.
_FINEST = 10**6
# The time since the first frame, a difference of two rounded timestamps, may be off by this many ticks.
_TICKS = 2
# It may be off by this share of a frame whatever the ticks: a copy into another container keeps the rounding of the
# first one, such as the milliseconds of Matroska in an mp4 with ticks of its own.
_OFF = Fraction(1, 8)
# From this many decimals on a written rate may be the rounding of another one: 23.98 for 24000/1001.
_DIGITS = 2


def read_rate(fps: float | Fraction) -> Fraction:
    """Returns the fraction that a rate above 0, kept as a float, stands for."""
    return Fraction(fps).limit_denominator(_FINEST) or Fraction(fps)


def first_frame(time: Fraction, fps: Fraction) -> int:
    """Returns the number of the first frame at `fps` that is shown at `time` (seconds) or later."""
    return math.ceil(time * fps - LAG)


def count_frames(start: int, end: int, *, counted: Fraction, fps: Fraction) -> tuple[int, int]:
    """Returns the range [start, end) of frames counted at one rate as a range of frames at `fps`.

    The range is empty where no frame at `fps` is shown in that time.
    """
    return first_frame(start / counted, fps), first_frame(end / counted, fps)


def find_counted(counted: float, own: Fraction, *, fps: float) -> Fraction:
    """Returns the rate at which a list counts the frames of a video, whose own rate is `own` and that is read at `fps`.

    It is the video's own rate where the list gives that with fewer digits (23.976, 23.98 or 23.97 for 24000/1001);
    otherwise the list would be off by a second two hours into a film. A rate with no more than one decimal is taken
    literally, and so is the one at which the video is read: those lists are used as they are.
    """
    digits = len(repr(float(counted)).partition(".")[2])
    near = abs(read_rate(counted) - own) < Fraction(1, 10**digits)
    return own if digits >= _DIGITS and near and counted != fps else read_rate(counted)


def snap_time(time: Fraction, *, rate: Fraction, tick: Fraction) -> Fraction:
    """Returns the time at which a frame begins, without the rounding of its timestamp.

    Containers round timestamps to ticks, such as a millisecond in Matroska, and copies keep that. If a whole number of
    frames at the stream's rate lies within such a rounding, that time is returned.

    Args:
        time: seconds since the first frame. rate: frames a second of the stream. tick: seconds of the clock's unit.
    """
    meant = round(time * rate) / rate
    return meant if abs(meant - time) <= max(_TICKS * tick, _OFF / rate) else time
