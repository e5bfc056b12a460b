"""Finds, in one pass over a film, its cuts, and small pictures and statistics of every frame that a set may show.

Every frame of a film is examined, at the film's own rate: cuts are PySceneDetect's, on frames at most 256 pixels wide,
however close to one another. A `FrameStats` keeps a row for each frame shown at the configured rate, and every later
decision uses these rows without the film; a cut becomes the first of these rows that is shown after it. Fewer frames a
second are not enough: a pan moves further between two of them, so that a cut beside it no longer stands out.

The adaptive detector compares a change with those around it and passes over a cut into wild movement; `find_bursts`
looks for those. Where a film repeats its frames, the changes between repetitions stand out in the same way without
being cuts; `is_repeated` finds those. What is too short between two cuts is left out and reported, and does not become
part of its neighbour. A frame darker than `footage.black` is black, and a run of black frames is a boundary too.

The memory is 441 bytes for each frame at the configured rate and 12 for each frame of the film, wherever the cuts are:
two hours at 24 frames a second, of which 12 are kept, are 40 MB.
"""

from __future__ import annotations

import dataclasses
import itertools
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from lct_jax.config import FootageConfig
from lct_jax.data.footage.combing import refuse_combed
from lct_jax.media.clock import Clock
from lct_jax.media.frame_rate import first_frame, read_rate
from lct_jax.media.frames import iter_seen
from lct_jax.media.video import narrow

# Frames are reduced to at most this width in pixels before detection.
WIDEST = 256
_CLOCK = 1.0  # frames a second of the detector's clock, which only counts frames
# A change below this share of the larger one means that the frames beside it stand still.
_STILL = 0.1
# Numbers of frames beside a change: those the adaptive detector compares it with, and a longer repetition.
_NEAR, _FAR = (2, 6)
THUMB = (9, 16)  # rows and columns of the small picture that is kept of every frame
_STROKE = np.ones((5, 5), np.uint8)  # larger than a stroke of text on 256 pixels
_CROSS = np.ones((3, 3), np.uint8)
# Grey levels: the contrast of a stroke against its ground, and the variation of ground that counts as smooth.
_INK, _SLOPE = (24, 6)


@dataclass(frozen=True)
class FrameStats:
    """Holds a row for each frame at the configured rate.

    Attributes:
        thumb: uint8 [N, 9, 16, 3].
        light: float32 [N], mean brightness. change: float32 [N], mean difference from the row before.
        card: bool [N], whether the frame resembles text on plain ground.
        cuts: the rows that begin a shot, in order.
    """

    thumb: np.ndarray
    light: np.ndarray
    change: np.ndarray
    card: np.ndarray
    cuts: tuple[int, ...]


def track_video(path: str | Path, config: FootageConfig, *, fps: float) -> tuple[FrameStats, str]:
    """Returns the statistics of a video, with rows at `fps`, and a line on faults of its timestamps, or "".

    Where timestamps restart or frames are missing, the frames before and after do not belong together: these places are
    cuts as well.

    Raises:
        InputError: the errors of `lct_jax.media.frames.iter_at_rate`, or the footage is interlaced and not marked as
            such.
    """
    clock = Clock()
    frames, counts = itertools.tee(iter_seen(path, fps, clock=clock))
    pictures = refuse_combed((seen.frame for seen in frames), Path(path))
    track = track_film(zip(pictures, (seen.shown for seen in counts), strict=True), config)
    rate = read_rate(fps)
    breaks = {first_frame(time, rate) for time in clock.breaks} & {*range(1, len(track.light))}
    cuts = tuple(sorted(breaks.union(track.cuts)))
    return dataclasses.replace(track, cuts=cuts), clock.describe()


def track_film(frames: Iterable[tuple[np.ndarray, int]], config: FootageConfig) -> FrameStats:
    """Returns the statistics of a film, of which one frame is in memory at a time.

    Args:
        frames: every frame of the film at its own rate, uint8 RGB [X, Y, 3], with the number of rows that show it.
    """
    detector, rows = _make_detector(config), _Rows(config)
    found, changes, first_rows, before = [], array("f"), array("q"), None
    for number, (full, shown) in enumerate(frames):
        frame = np.ascontiguousarray(narrow(full, WIDEST))
        before = frame if before is None else before
        changes.append(cv2.absdiff(frame, before).mean())
        first_rows.append(len(rows.card))
        bgr = np.ascontiguousarray(frame[..., ::-1])
        found += detector.process_frame(FrameTimecode(number, _CLOCK), bgr)
        rows.add(frame, shown)
        before = frame
    found += detector.post_process(FrameTimecode(max(len(changes) - 1, 0), _CLOCK))
    change, cuts = np.array(changes), {cut.frame_num for cut in found}
    if config.detector == "adaptive":
        cuts.update(find_bursts(change, config))
    kept = {first_rows[cut] for cut in cuts if not is_repeated(change, cut, config.cut_threshold)}
    return rows.finish(tuple(sorted(kept - {0, len(rows.card)})))


class _Rows:
    """Collects rows in little more memory than they take."""

    def __init__(self, config: FootageConfig) -> None:
        self._config = config
        self._thumb, self.card = bytearray(), bytearray()
        self._light, self._change = array("f"), array("f")
        self._before: np.ndarray | None = None

    def add(self, frame: np.ndarray, shown: int) -> None:
        if not shown:
            return
        before = frame if self._before is None else self._before
        self._change.append(cv2.absdiff(frame, before).mean())
        self._change.extend(itertools.repeat(0.0, shown - 1))
        self._thumb += _thumb(frame).tobytes() * shown
        self._light.extend(itertools.repeat(frame.mean(), shown))
        self.card += bytes([_is_card(frame, self._config)]) * shown
        self._before = frame

    def finish(self, cuts: tuple[int, ...]) -> FrameStats:
        return FrameStats(
            thumb=np.frombuffer(self._thumb, np.uint8).reshape(-1, *THUMB, 3),
            light=np.frombuffer(self._light, np.float32),
            change=np.frombuffer(self._change, np.float32),
            card=np.frombuffer(self.card, bool),
            cuts=cuts,
        )


def is_repeated(change: np.ndarray, number: int, threshold: float) -> bool:
    """Returns whether a change stands out only because a film repeats the frames beside it, and is no cut.

    Drawn films show a picture two or three times, and 24 frames a second fill 60 by repeating each frame two or three
    times: every picture then follows repetitions that do not move, and any motion would stand out from them. If no two
    motions within six frames follow one another directly, a cut must stand out by `threshold` from the nearest motions.

    Args:
        change: [N], mean difference of every frame from the one before. number: the frame that may be a cut.
    """
    sides = change[max(number - _FAR, 1) : number][::-1], change[number + 1 :][:_FAR]
    moving = [side > _STILL * change[number] for side in sides]
    if any(np.r_[True, side][:-1][side].any() for side in moving):
        return False
    # Fewer than two motions on a side are no rhythm: the picture stands still, or the change is the other cut of a
    # short shot.
    if min(side.sum() for side in moving) < 2:
        return False
    nearest = [side[moves][:_NEAR] for side, moves in zip(sides, moving, strict=True)]
    return bool(change[number] < threshold * np.mean(nearest))


def find_bursts(change: np.ndarray, config: FootageConfig) -> list[int]:
    """Returns the frames at which a calm picture is followed by wild movement, or the other way round, with a strong
    change.

    Such a frame changes by `footage.cut_burst` or more, and by twice `cut_threshold` times the mean of the two frames
    on its calmer side.

    Args:
        change: [N] mean difference of every frame to the one before.
    """
    # These are the means of frames 1 and 2, 2 and 3, and so on, because frame 0 has no change.
    pairs = (change[1:-1] + change[2:]) / 2
    calmer = np.minimum(pairs[:-3], pairs[3:])
    strong = change[3:-2] >= np.maximum(config.cut_burst, 2 * config.cut_threshold * calmer)
    return (np.flatnonzero(strong) + 3).tolist()


def _make_detector(config: FootageConfig) -> SceneDetector:
    if config.detector == "content":
        return ContentDetector(threshold=config.cut_threshold, min_scene_len=1)
    return AdaptiveDetector(
        adaptive_threshold=config.cut_threshold,
        min_content_val=config.cut_contrast,
        min_scene_len=1,
    )


def _thumb(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, THUMB[::-1], interpolation=cv2.INTER_AREA)


def _is_card(frame: np.ndarray, config: FootageConfig) -> bool:
    """Returns whether a frame has thin strokes of one colour, lighter or darker than their surroundings, on ground
    without texture."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    light = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, _STROKE)
    dark = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, _STROKE)
    ground = cv2.morphologyEx(grey, cv2.MORPH_OPEN, _STROKE)
    slope = cv2.morphologyEx(ground, cv2.MORPH_GRADIENT, _CROSS)
    ink = cv2.max(light, dark) > _INK
    if ink.mean() < config.ink or (slope <= _SLOPE).mean() < config.smooth:
        return False
    return _measure_colours(frame[ink]) <= config.ink_colours


def _measure_colours(colours: np.ndarray) -> float:
    """Returns how far colours [n, 3] lie from a line: their second largest deviation along their principal axes.

    Text and its ground are two colours, with all colours between them at edges; an object before a plain sky has more.
    """
    spread = np.linalg.eigvalsh(np.cov(colours.T.astype(np.float32)))
    return float(np.sqrt(max(spread[1], 0.0)))
