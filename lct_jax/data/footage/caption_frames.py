"""Reads pictures for a caption model: a few frames of each shot, of all scenes of a film in one pass over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from lct_jax.media.frames import iter_at_rate
from lct_jax.media.video import narrow

Range = tuple[int, int]
_WIDEST = 256  # pixels of a picture's width


def iter_pictures(
    path: Path, scenes: Sequence[Sequence[Range]], *, fps: float, count: int
) -> Iterator[list[list[np.ndarray]]]:
    """Yields the pictures of each scene: `count` uint8 RGB frames [X, Y, 3] a shot, evenly spaced within it.

    The film is decoded once, up to the last frame that is shown. Only frames that a scene still needs are in memory:
    those of one scene, where scenes follow one another.

    Args:
        scenes: frames [start, end) of the shots of each scene, at `fps`.

    Raises:
        InputError: the errors of `lct_jax.media.frames.iter_at_rate`.
    """
    wanted = [[spread(start, end, count) for start, end in shots] for shots in scenes]
    needed = Counter(number for scene in wanted for numbers in scene for number in numbers)
    found: dict[int, np.ndarray] = {}
    with closing(iter_at_rate(path, fps)) as frames:
        numbered = enumerate(frames)
        for scene in wanted:
            missing = {number for numbers in scene for number in numbers} - found.keys()
            while missing:
                number, frame = next(numbered)
                missing.discard(number)
                if needed[number]:
                    found[number] = narrow(frame, _WIDEST)
            yield [[found[number] for number in numbers] for numbers in scene]
            needed.subtract(number for numbers in scene for number in numbers)
            found = {number: frame for number, frame in found.items() if needed[number]}


def spread(start: int, end: int, count: int) -> list[int]:
    """Returns `count` frame numbers of [start, end), evenly spaced and off its ends."""
    return np.linspace(start, end - 1, count + 2)[1:-1].round().astype(int).tolist()


def merge_pictures(
    pictures: Sequence[Sequence[np.ndarray]], limit: int
) -> list[tuple[str, list[np.ndarray]]]:
    """Returns the pictures of a scene as at most `limit` pictures, each group with the text that stands before it.

    Frames are left out evenly, but each shot keeps one. Where there are more shots than `limit`, one picture shows
    several of them, a row of frames for each shot.

    Args:
        pictures: uint8 RGB frames [X, Y, 3] of each shot, all of one size.
    """
    shots = len(pictures)
    if shots <= limit:
        kept = limit // shots
        thinned = [
            [frames[(2 * i + 1) * len(frames) // (2 * n)] for i in range(n)]
            for frames in pictures
            for n in [min(kept, len(frames))]
        ]
        return [(f"Shot {n} of {shots}:", frames) for n, frames in enumerate(thinned, start=1)]
    groups = [part.tolist() for part in np.array_split(np.arange(shots), limit)]
    return [
        (
            f"Shots {group[0] + 1} to {group[-1] + 1} of {shots}, one row of frames for each, from the top:",
            [np.concatenate([np.concatenate(list(pictures[n]), axis=1) for n in group])],
        )
        for group in groups
    ]
