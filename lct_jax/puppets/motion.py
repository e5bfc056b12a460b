"""Reading a whole puppet shot: what it shows, what moves in it, and whether it goes on from the one before it.

Frames enter, a `SeenShot` leaves. Attributes are those of the first frame, which codecs with a leading frame keep
sharpest; motion is the way of the body and of what stands behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lct_jax.puppets.read import SeenCharacter, SeenFrame, read_frame

TURNED, WALKED, ROSE = (
    0.10,
    0.15,
    0.07,
)  # half of what a pan, a walk and a jump are, about, in widths and heights
UNSURE = 0.02  # so near to those one cannot tell
MOVED, GROWN = (
    0.35,
    0.17,
)  # a body farther off, in widths, or larger, by its logarithm, was cut to: framings differ by 0.33


@dataclass(frozen=True)
class SeenShot:
    """What a shot shows: its first and last frame, and what happens."""

    first: SeenFrame
    last: SeenFrame
    action: str | None

    @property
    def framing(self) -> str | None:
        """Of its first character; None where there is none, or one cannot tell."""
        return self.first.characters[0].framing if self.first.characters else None

    @property
    def colours(self) -> frozenset[str]:
        """Colours of the characters that are there."""
        return frozenset(character.colour for character in self.first.characters)


def read_shot(frames: np.ndarray) -> SeenShot:
    """Reads a shot, uint8 [frames, height, width, 3]."""
    seen = [read_frame(frame) for frame in frames]
    return SeenShot(seen[0], seen[-1], _tell_action(seen))


def goes_on(before: SeenShot, after: SeenShot) -> bool | None:
    """Whether a shot continues the one before it; None where nobody is in one of them who could be followed."""
    old, new = before.first.characters, after.first.characters
    if not old or not new:
        return None if not old and not new else False
    if before.colours != after.colours:
        return False
    # Codecs blur what moves: how large a body is shows best in the first frame, where it went in the last one.
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
    """A pan, from how far what stands still moved through the picture."""
    if turn is None or abs(turn) < TURNED:
        return None
    return "pans left" if turn > 0 else "pans right"


def _way_of_anchor(first: SeenFrame, last: SeenFrame) -> float | None:
    """How far sun and landmark moved, in widths; None where neither is seen in both frames."""
    ways = [last.anchor[name] - x for name, x in first.anchor.items() if name in last.anchor]
    return float(np.mean(ways)) if ways else None


def _same(first: SeenFrame, frame: SeenFrame) -> SeenCharacter | None:
    """The first frame's character in another frame."""
    for character in frame.characters:
        if first.characters and character.colour == first.characters[0].colour:
            return character
    return None
