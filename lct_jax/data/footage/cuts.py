"""What one pass over a film finds: its cuts, and small pictures and numbers of every frame that a set may show.

Every frame of a film is looked at, at the film's own rate: cuts are PySceneDetect's, on frames at most 256 pixels wide,
however near to one another. Of the frames shown at the configured rate a `FrameStats` keeps rows, on which everything
later is decided without the film; a cut becomes the first of these rows that is shown after it. Fewer frames a second
would not do: a pan moves the further between two of them, so that a cut beside one no longer stands out.

The adaptive detector compares a change with those around it and passes over a cut into wild movement; `find_bursts`
looks for those. Where a film repeats its frames, the changes between repetitions stand out in the same way without
being cuts; `is_repeated` finds those. What is too short between two cuts is left out by name and not left in its
neighbour. A frame darker than `footage.black` is black, and a run of black frames is a boundary too.

Memory: 441 bytes a frame at the configured rate and 12 a frame of the film, whatever is cut where: two hours at 24
frames a second, of which 12 are kept, are 40 MB.
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

WIDEST = 256  # pixels of a frame that is looked at
_CLOCK = 1.0  # frames a second of the detector's clock, which counts frames and nothing else
_STILL = 0.1  # share of a change below which the frames beside it stand still
_NEAR, _FAR = (
    2,
    6,
)  # frames beside a change: those the adaptive detector compares it with, and a longer repetition
THUMB = (9, 16)  # rows and columns of the picture that is kept of every frame
_STROKE = np.ones((5, 5), np.uint8)  # thicker than a stroke of text on 256 pixels
_CROSS = np.ones((3, 3), np.uint8)
_INK, _SLOPE = (
    24,
    6,
)  # grey levels: of a stroke against its ground, and of ground that still is smooth


@dataclass(frozen=True)
class FrameStats:
    """Row by row of the frames at the configured rate, [N ...]:

    Attributes:
        thumb: uint8 [N, 9, 16, 3].
        light: float32 [N] mean brightness. change: float32 [N] mean difference to the row before.
        card: bool [N] looks like text on plain ground.
        cuts: rows that begin a shot, in order.
    """

    thumb: np.ndarray
    light: np.ndarray
    change: np.ndarray
    card: np.ndarray
    cuts: tuple[int, ...]


def track_video(path: str | Path, config: FootageConfig, *, fps: float) -> tuple[FrameStats, str]:
    """Returns the track of a video, with rows at `fps`, and a line on what is wrong with its timestamps, or "".

    Where timestamps begin anew or frames are missing, what is seen before and behind does not belong together: these
    places are cuts as well.

    Raises:
        InputError: as `lct_jax.media.frames.iter_at_rate`; or the footage is interlaced and does not say so.
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
    """Returns the track of a film, of which one frame is in memory at a time.

    Args:
        frames: every frame of the film at its own rate, uint8 RGB [X, Y, 3], with the number of rows that show it.
    """
    detector, rows = _make_detector(config), _Rows(config)
    found, changes, first_rows, before = [], array("f"), array("q"), None
    for number, (full, shown) in enumerate(frames):
        frame = shrink(full)
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
    """Collects the rows of a track, in little more memory than they take."""

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
    """Whether a change stands out only because a film repeats the frames beside it, and is no cut.

    Drawn films show a picture two or three times, and 24 frames a second fill 60 in turns of two and three: every
    picture then follows upon repetitions that do not move, and any motion would stand out from them. Where no two
    motions within six frames follow one another at once, a cut must stand out by `threshold` from the nearest ones.

    Args:
        change: [N] mean difference of every frame to the one before. number: of the frame that may be a cut.
    """
    sides = change[max(number - _FAR, 1) : number][::-1], change[number + 1 :][:_FAR]
    moving = [side > _STILL * change[number] for side in sides]
    if any(np.r_[True, side][:-1][side].any() for side in moving):
        return False
    # Fewer than two motions on a side are no rhythm: a picture that stands still, or a short shot's other cut.
    if min(side.sum() for side in moving) < 2:
        return False
    nearest = [side[moves][:_NEAR] for side, moves in zip(sides, moving, strict=True)]
    return bool(change[number] < threshold * np.mean(nearest))


def find_bursts(change: np.ndarray, config: FootageConfig) -> list[int]:
    """Frames at which a calm picture gives way to wild movement, or the other way round: cuts, if the change is strong.

    Such a frame changes by `footage.cut_burst` or more, and by twice `cut_threshold` times the mean of the two frames
    on its calmer side.

    Args:
        change: [N] mean difference of every frame to the one before.
    """
    pairs = (
        change[1:-1] + change[2:]
    ) / 2  # of frames 1 and 2, 2 and 3, ...: the first has none before it
    calmer = np.minimum(pairs[:-3], pairs[3:])
    strong = change[3:-2] >= np.maximum(config.cut_burst, 2 * config.cut_threshold * calmer)
    return (np.flatnonzero(strong) + 3).tolist()


def shrink(frame: np.ndarray) -> np.ndarray:
    """A frame at most `WIDEST` pixels wide, its aspect ratio kept."""
    height, width = frame.shape[:2]
    if width <= WIDEST:
        return np.ascontiguousarray(frame)
    size = (WIDEST, max(1, round(height * WIDEST / width)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


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
    """Thin strokes of one colour, lighter or darker than what is around them, over ground without texture."""
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
    """How far colours [n, 3] lie from a line: their second largest deviation along axes of their own.

    Text and its ground are two colours, with all between them at edges; a thing before a plain sky has more.
    """
    spread = np.linalg.eigvalsh(np.cov(colours.T.astype(np.float32)))
    return float(np.sqrt(max(spread[1], 0.0)))
