"""Makes takes of frame statistics: finds what lies between boundaries, why a take is set aside, and divides long ones.

`Takes` are made of `FrameStats`, or of a user's list of shots. Every take has its parts, and a reason if it is set
aside. A take is footage without a cut; it becomes one shot, or several shots joined without a cut: pseudo multi-shot
[LCT section 3.4], which lets a model extend a shot.
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
# Beside black, frames darker than this share of their shot's median light belong to a fade.
DARK = 0.5
# Frames of a take that are kept as small pictures, to compare it with others.
THUMBS_A_TAKE = 6
BLOCK = 1024  # frames that are compared at a time
# Frames that a picture may stand still within a take, three seconds at 12 fps; a longer still is a range of its own.
HOLD = 36
SHORT_OF = 2  # largest difference in length of two duplicates, in frames
THUMBS_COLUMN = "look"  # the name of `thumbs` in files


@dataclass(frozen=True)
class Takes:
    """Holds the takes of one film in order of time, as columns.

    Attributes:
        frames: int32 [n, 2], start and end. reason: int32 [n], index into `REASONS`; 0 means that the take is kept.
        parts: int32 [p, 3], take, start and end of each shot. divided: int32 [2], the number of takes divided at
            events, and of those divided because they are too long.
        thumbs: uint8 [n, 6, 9, 16, 3], small pictures of `THUMBS_A_TAKE` frames, evenly spaced.
        film: int32 [3], number of frames, upright height and width.
    """

    frames: np.ndarray
    reason: np.ndarray
    parts: np.ndarray
    divided: np.ndarray
    thumbs: np.ndarray
    film: np.ndarray

    def save(self, path: Path) -> None:
        """Writes the columns, complete or not at all."""
        columns = asdict(self).items()
        save_tensors(
            path, {THUMBS_COLUMN if name == "thumbs" else name: value for name, value in columns}
        )

    @classmethod
    def load(cls, path: Path) -> Takes:
        """Reads what `save` wrote."""
        names = {field.name: field.name for field in fields(cls)} | {"thumbs": THUMBS_COLUMN}
        columns = load_tensors_of(path, [*names.values()])
        return cls(**{name: columns[column] for name, column in names.items()})


def find_takes(
    track: FrameStats,
    config: FootageConfig,
    *,
    size: tuple[int, int],
    given: Sequence[tuple[int, int]] | None = None,
) -> Takes:
    """Returns the takes of a film.

    Args:
        size: upright height and width. given: shots from a user's own list, in place of the cuts that were found.
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
    last = len(track.light) - 1
    places = np.stack([np.linspace(a, max(a, b - 1), THUMBS_A_TAKE).round() for a, b in ranges])
    places = places.astype(int).clip(0, last)
    column = lambda values, *shape: np.array(values, np.int32).reshape(-1, *shape)
    return Takes(
        frames=column(ranges, 2),
        reason=column([REASONS.index(reason) for reason in reasons]),
        parts=column(parts, 3),
        divided=column(divided),
        thumbs=track.thumb[places],
        film=column([len(track.light), *size]),
    )


def divide(pictures: np.ndarray, config: FootageConfig) -> tuple[list[tuple[int, int]], bool]:
    """Returns the parts [start, end) of a take, and whether any boundary is an event.

    A take of at least `config.take` frames is divided where the mean pictures before and after differ most, as long as
    they differ by `config.event` or more and both sides keep `config.shortest` frames. A part that is still longer than
    `config.longest` is divided evenly into the fewest parts. Every part but the last has 4n + 1 frames, so that one
    clip shows it from its beginning to where the next part continues. Each boundary is moved by two frames at most for
    that, and by more only where a part would become too long or too short.

    Args:
        pictures: uint8 [N, ...], the frames of the take.
    """
    values = pictures.reshape(len(pictures), -1)
    events = _find_events(values, config) if len(values) >= config.take else []
    edges = [0]
    for start, end in itertools.pairwise([0, *events, len(values)]):
        count = 1 if end - start <= config.longest else -(-(end - start) // _down(config.longest))
        edges += np.linspace(start, end, count + 1).round().astype(int).tolist()[1:]
    return list(itertools.pairwise(_align(edges, config))), bool(events)


def _align(edges: Sequence[int], config: FootageConfig) -> list[int]:
    """Moves the edges of parts so that every part but the last has 4n + 1 frames, and none is too long or too short.

    Where that cannot be with so many parts, as when events lie close together, an edge is left out or added.
    """
    edges = list(edges)
    least, most = _down(config.shortest + 3), _down(config.longest)
    lowest = lambda parts: (parts - 1) * least + config.shortest
    highest = lambda parts: (parts - 1) * most + config.longest
    while len(edges) > 2 and edges[-1] < lowest(len(edges) - 1):
        spans = [behind - before for before, behind in zip(edges, edges[2:], strict=False)]
        del edges[1 + int(np.argmin(spans))]
    while edges[-1] > highest(len(edges) - 1):
        widest = int(np.argmax(np.diff(edges)))
        edges.insert(widest + 1, sum(edges[widest : widest + 2]) // 2)
    moved = [edges[0]]
    for place, edge in enumerate(edges[1:-1], start=1):
        room, behind = edges[-1] - moved[-1], len(edges) - 1 - place
        shortest = max(least, _down(room - highest(behind) + 3))
        longest = min(most, _down(room - lowest(behind)))
        moved.append(moved[-1] + min(max(_down(edge - moved[-1] + 2), shortest), longest))
    return [*moved, edges[-1]]


def _down(frames: int) -> int:
    """Returns the largest 4n + 1 that is not above a number of frames."""
    return (frames - 1) // 4 * 4 + 1


def _find_events(values: np.ndarray, config: FootageConfig) -> list[int]:
    """Returns the frame numbers at which the values, uint8 [N, D], change, in order, by binary segmentation."""
    events, waiting = [], [(0, len(values))]
    while waiting:
        start, end = waiting.pop()
        place = _find_event(values[start:end], config)
        if place is not None:
            events.append(start + place)
            waiting += [(start, start + place), (start + place, end)]
    return sorted(events)


def _find_event(values: np.ndarray, config: FootageConfig) -> int | None:
    """Returns the frame at which the values change most, None if by too little; it works in blocks, whatever the
    length."""
    count = len(values)
    # Even after both sides are reduced to 4n + 1 frames, they are not too short.
    least = _down(config.shortest + 3)
    if count < 2 * least:
        return None
    blocks = [values[start : start + BLOCK] for start in range(0, count, BLOCK)]
    total = sum(block.sum(axis=0, dtype=np.int64) for block in blocks)
    passed, found = np.zeros_like(total), []
    for number, block in enumerate(blocks):
        sums = passed + np.cumsum(block, axis=0, dtype=np.int64)
        places = np.arange(1, len(block) + 1) + number * BLOCK
        # After the last frame there is nothing to compare with.
        others = np.maximum(count - places, 1)
        jump = sums / places[:, None] - (total - sums) / others[:, None]
        found.append(np.sqrt(np.square(jump).mean(axis=1)))
        passed = sums[-1]
    places, jumps = np.arange(1, count + 1), np.concatenate(found)
    inside = slice(least - 1, count - least)
    # The weight is that of the analysis of variance; otherwise the ends, whose means are those of few frames, would
    # always win.
    weighted = jumps[inside] * np.sqrt(places[inside] * (count - places[inside]))
    best = least - 1 + int(np.argmax(weighted))
    return int(places[best]) if jumps[best] >= config.event else None


def _find_ranges(track: FrameStats, config: FootageConfig) -> list[tuple[int, int]]:
    """Returns the ranges between cuts, without black frames and fades; runs of black and of stills are ranges too, to
    be counted."""
    black = track.light < config.black
    edges = np.flatnonzero(np.diff(black.astype(int))) + 1
    holds = _find_holds((track.change < config.frozen) & ~black)
    bounds = sorted({0, *track.cuts, *edges.tolist(), *holds, len(black)})
    ranges = []
    for start, end in itertools.pairwise(bounds):
        if not black[start]:
            begins, ends = start, end
            start = _skip_fade(track.light, begins, ends) if start and black[start - 1] else start
            end = _skip_fade(track.light, ends, begins) if end < len(black) and black[end] else end
        ranges.append((start, end))
    return ranges


def _find_holds(still: np.ndarray) -> list[int]:
    """Returns the frame numbers at which runs of at least `HOLD` frames that stand still begin and end.

    Args:
        still: bool [N], whether a frame shows the same picture as the one before.
    """
    edges = np.flatnonzero(np.diff(still.astype(int), prepend=0, append=0)).reshape(-1, 2)
    return edges[edges[:, 1] - edges[:, 0] >= HOLD].ravel().tolist()


def _skip_fade(light: np.ndarray, edge: int, other: int) -> int:
    """Moves an edge of a range inwards over frames that are much darker than the range."""
    low, high = min(edge, other), max(edge, other)
    bright = np.flatnonzero(light[low:high] >= DARK * np.median(light[low:high]))
    return low + int(bright[0]) if edge < other else low + int(bright[-1]) + 1


def _judge(track: FrameStats, start: int, end: int, config: FootageConfig) -> str:
    # This is a shot of a user's list in which no frame is shown.
    if start == end:
        return "too short"
    if track.light[start:end].mean() < config.black:
        return "black"
    if end - start < config.shortest:
        return "too short"
    if track.card[start:end].mean() >= config.card:
        return "titles or credits"
    if track.change[start + 1 : end].mean() < config.frozen:
        return "frozen"
    return ""
