"""Gives a film one clock where its timestamps do not: they may restart, jump, leave a gap, or be missing.

Recordings are joined, dropped and cut as bytes. A player continues at such a place, and so does this clock; the places
are kept, because no take may span them, and are reported to the user.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

# Timestamps may go back by this many seconds without being taken for new ones [FFmpeg: the same]
_BACK = Fraction(1, 10)
# A gap in a transmitted format may have this many seconds [FFmpeg: dts_delta_threshold]
_AHEAD = Fraction(10)
_GAP = Fraction(1)  # seconds without a frame that count as a loss in a transmitted format


@dataclass
class Clock:
    """Places frames in time, each after the one before.

    Attributes:
        breaks: the seconds at which the frames before and after do not belong together.
        restarts: how often timestamps restarted or jumped, and the film was joined.
        losses: how often frames were lost.
        strict: whether a long gap is a jump, as in transmitted formats, and not a frame that is shown for long.
    """

    strict: bool = False
    breaks: list[Fraction] = field(default_factory=list)
    restarts: int = 0
    losses: int = 0
    _offset: Fraction | None = None
    _begin: Fraction = Fraction(0)
    _next: Fraction = Fraction(0)
    _usual: Fraction = Fraction(0)

    def place(
        self, time: Fraction | None, length: Fraction | None, *, broken: bool = False
    ) -> tuple[Fraction, Fraction]:
        """Returns the seconds from the first frame at which a frame begins and ends.

        Args:
            time: its timestamp in seconds, if it has one. length: its duration in seconds, if it has one.
            broken: whether frames before it were lost.
        """
        if self._offset is None and time is not None:
            self._offset = time - self._next
        begin = self._next if time is None else time - self._offset
        if begin < self._begin - _BACK or (self.strict and begin - self._next > _AHEAD):
            self._offset += begin - self._next
            # After a restart the gaps of a clock are not reliable.
            begin, self.strict = self._next, True
            self.restarts += 1
            self.breaks.append(begin)
        elif broken or (self.strict and begin - self._next > _GAP):
            self.losses += 1
            self.breaks += [self._next, begin]
        elif begin > self._begin:
            self._usual = begin - self._begin
        self._begin = max(begin, self._begin)
        # Some writers give every frame the length of one tick, so the step between two frames counts too.
        self._next = self._begin + max(length or Fraction(0), min(self._usual, _GAP))
        return self._begin, self._begin + (length or self._usual)

    def describe(self) -> str:
        """Returns what was wrong with the timestamps as one line, "" if nothing was."""
        said = []
        if self.restarts:
            said.append(f"timestamps begin anew or jump at {_places(self.restarts)}, joined there")
        if self.losses:
            said.append(f"frames are missing at {_places(self.losses)}")
        return "; ".join(said)


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"
