"""From a track to takes: what lies between two boundaries, what is wrong with it, and how a long one is divided.

`Takes` are made of `FrameStats`, or of a user's list of shots: every take with its parts, and a reason where it is set
aside. A take is footage without a cut; it becomes one shot, or several that go on without a cut: pseudo multi-shot
[LCT section 3.4], which is what lets a model extend a shot.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from lct_jax.config import FootageConfig
from lct_jax.data.footage.cuts import FrameStats
from lct_jax.tensors import load_tensors_of, save_tensors

REASONS = ("", "too short", "black", "frozen", "titles or credits", "duplicate", "no caption")
DARK = 0.5  # beside black, frames darker than this share of their shot's median light are its fade
LOOKS = 6  # frames of a take that are kept to compare it with others
SHORT_OF = 2  # frames that two duplicates may differ in length


@dataclass(frozen=True)
class Takes:
    """Takes of one film in order of time, as columns.

    Attributes:
        frames: int32 [n, 2] start and end. reason: int32 [n] place in `REASONS`; 0 is kept.
        parts: int32 [p, 3] take, start and end of its shots. divided: int32 [2] takes divided at events, and because
            they are too long.
        look: uint8 [n, 6, 9, 16, 3], small pictures of `LOOKS` frames, evenly spaced.
        film: int32 [3] frames, upright height and width.
    """

    frames: np.ndarray
    reason: np.ndarray
    parts: np.ndarray
    divided: np.ndarray
    look: np.ndarray
    film: np.ndarray

    def save(self, path: Path) -> None:
        """Writes the columns, complete or not at all."""
        save_tensors(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Takes:
        """Reads what `save` wrote."""
        return cls(**load_tensors_of(path, [field.name for field in fields(cls)]))


def find_takes(
    track: FrameStats,
    config: FootageConfig,
    *,
    size: tuple[int, int],
    given: Sequence[tuple[int, int]] | None = None,
) -> Takes:
    """Takes of a track.

    Args:
        size: upright height and width. given: shots from a user's own list, instead of the track's cuts.
    """
    ranges = list(given) if given is not None else _find_ranges(track, config)
    reasons = [_judge(track, start, end, config) for start, end in ranges]
    parts, divided = [], [0, 0]
    for number, ((start, end), reason) in enumerate(zip(ranges, reasons, strict=True)):
        if reason:
            continue
        bounds, at_events = divide(track.thumb[start:end], config)
        parts += [(number, start + a, start + b) for a, b in bounds]
        if len(bounds) > 1:
            divided[0 if at_events else 1] += 1
    looked = np.stack([np.linspace(a, b - 1, LOOKS).round().astype(int) for a, b in ranges])
    column = lambda values, *shape: np.array(values, np.int32).reshape(-1, *shape)
    return Takes(
        frames=column(ranges, 2),
        reason=column([REASONS.index(reason) for reason in reasons]),
        parts=column(parts, 3),
        divided=column(divided),
        look=track.thumb[looked],
        film=column([len(track.light), *size]),
    )


def divide(pictures: np.ndarray, config: FootageConfig) -> tuple[list[tuple[int, int]], bool]:
    """Parts [start, end) of a take, and whether any boundary is an event.

    A take of at least `config.take` frames is divided where the mean pictures before and behind differ most, while they
    differ by `config.event` or more and both sides keep `config.shortest` frames. What is still longer than
    `config.longest` is divided evenly into the fewest parts.

    Args:
        pictures: uint8 [N ...] of its frames.
    """
    values = pictures.reshape(len(pictures), -1).astype(np.float32)
    events = _find_events(values, config) if len(values) >= config.take else []
    bounds = []
    for start, end in zip([0, *events], [*events, len(values)], strict=True):
        count = -(-(end - start) // config.longest)
        edges = np.linspace(start, end, count + 1).round().astype(int).tolist()
        bounds += itertools.pairwise(edges)
    return bounds, bool(events)


def _find_events(values: np.ndarray, config: FootageConfig) -> list[int]:
    """Binary segmentation: frame numbers at which the values [N, D] change, in order."""
    count, shortest = len(values), config.shortest
    places = np.arange(shortest, count - shortest + 1)
    if not len(places):
        return []
    sums = np.cumsum(values, axis=0, dtype=np.float64)
    before = sums[places - 1] / places[:, None]
    behind = (sums[-1] - sums[places - 1]) / (count - places)[:, None]
    jump = np.sqrt(np.square(before - behind).mean(axis=1))
    # Weighted as in the analysis of variance: or the ends, whose means are those of few frames, would always win.
    best = int(np.argmax(jump * np.sqrt(places * (count - places))))
    if jump[best] < config.event:
        return []
    place = int(places[best])
    left = _find_events(values[:place], config)
    return [*left, place, *(place + event for event in _find_events(values[place:], config))]


def _find_ranges(track: FrameStats, config: FootageConfig) -> list[tuple[int, int]]:
    """Ranges between cuts, black frames and fades apart; runs of black are ranges too, so that they are counted."""
    black = track.light < config.black
    edges = np.flatnonzero(np.diff(black.astype(int))) + 1
    bounds = sorted({0, *track.cuts, *edges.tolist(), len(black)})
    ranges = []
    for start, end in itertools.pairwise(bounds):
        if not black[start]:
            begins, ends = start, end
            start = _skip_fade(track.light, begins, ends) if start and black[start - 1] else start
            end = _skip_fade(track.light, ends, begins) if end < len(black) and black[end] else end
        ranges.append((start, end))
    return ranges


def _skip_fade(light: np.ndarray, edge: int, other: int) -> int:
    """Moves an edge of a range inwards over frames that are much darker than the range."""
    low, high = min(edge, other), max(edge, other)
    bright = np.flatnonzero(light[low:high] >= DARK * np.median(light[low:high]))
    return low + int(bright[0]) if edge < other else low + int(bright[-1]) + 1


def _judge(track: FrameStats, start: int, end: int, config: FootageConfig) -> str:
    if track.light[start:end].mean() < config.black:
        return "black"
    if end - start < config.shortest:
        return "too short"
    if track.card[start:end].mean() >= config.card:
        return "titles or credits"
    if track.change[start + 1 : end].mean() < config.frozen:
        return "frozen"
    return ""
