"""Reads a whole puppet shot: what it shows, what moves in it, and whether it continues the one before it.

The attributes of a `SeenShot` are those of its first frame, which codecs with a leading frame keep sharpest; its motion
is that of the body and of the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lct_jax.puppets.read import SeenCharacter, SeenFrame, read_frame

# About half of the distance of a pan, a walk and a jump, in widths and heights.
TURNED, WALKED, ROSE = (0.10, 0.15, 0.07)
UNSURE = 0.02  # a distance this near to those is undecided
# A body that is farther away (in widths) or larger (by its logarithm) than this follows a cut: framings differ by 0.33.
MOVED, GROWN = (0.35, 0.17)


@dataclass(frozen=True)
class SeenShot:
    """Describes what a shot shows: its first and last frame, and what happens."""

    first: SeenFrame
    last: SeenFrame
    action: str | None

    @property
    def framing(self) -> str | None:
        """Returns the framing of its first character; None if there is none, or the framing is unclear."""
        return self.first.characters[0].framing if self.first.characters else None

    @property
    def colours(self) -> frozenset[str]:
        """Returns the colours of its characters."""
        return frozenset(character.colour for character in self.first.characters)


def read_shot(frames: np.ndarray) -> SeenShot:
    """Reads a shot, uint8 [frames, height, width, 3]."""
    seen = [read_frame(frame) for frame in frames]
    return SeenShot(seen[0], seen[-1], _tell_action(seen))


def goes_on(before: SeenShot, after: SeenShot) -> bool | None:
    """Returns whether a shot continues the one before it; None if one of them shows nobody who could be followed."""
    old, new = before.first.characters, after.first.characters
    if not old or not new:
        return None if not old and not new else False
    if before.colours != after.colours:
        return False
    # Codecs blur motion: the size of a body is clearest in the first frame, and its way in the last one.
    last = before.last.characters or old
    return bool(
        abs(np.log(new[0].size / old[0].size)) < GROWN and abs(last[0].x - new[0].x) < MOVED
    )


def _tell_action(seen: list[SeenFrame]) -> str | None:
    first, last = seen[0], seen[-1]
    turn = _way_of_anchor(first, last)
    if len(first.characters) > 1:
        return _tell_turn(turn) or (None if turn is None else "stands")
    bodies = [_same(first, frame) for frame in seen]
    if not first.characters:
        return _tell_turn(turn) or (None if turn is None else "stands")
    if turn is None or bodies[-1] is None:
        return None
    turned = _tell_turn(turn)
    if turned:
        return turned
    way = bodies[-1].x - bodies[0].x - turn
    rise = max(bodies[0].feet - body.feet for body in bodies if body is not None)
    if min(abs(abs(way) - WALKED), abs(rise - ROSE)) < UNSURE / 2:
        return None
    if abs(way) > WALKED:
        return "walks right" if way > 0 else "walks left"
    return "jumps" if rise > ROSE else "stands"


def _tell_turn(turn: float | None) -> str | None:
    """Returns the pan, from the distance that fixed objects moved through the picture."""
    if turn is None or abs(turn) < TURNED:
        return None
    return "pans left" if turn > 0 else "pans right"


def _way_of_anchor(first: SeenFrame, last: SeenFrame) -> float | None:
    """Returns how far sun and landmark moved, in widths; None if neither is visible in both frames."""
    ways = [last.anchor[name] - x for name, x in first.anchor.items() if name in last.anchor]
    return float(np.mean(ways)) if ways else None


def _same(first: SeenFrame, frame: SeenFrame) -> SeenCharacter | None:
    """Returns the first frame's character in another frame."""
    for character in frame.characters:
        if first.characters and character.colour == first.characters[0].colour:
            return character
    return None
