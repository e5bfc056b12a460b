"""What one pass over a film finds: its cuts and fades, and small pictures and numbers of every frame.

A film is read frame by frame at the configured rate into `FrameStats`, on which everything later is decided without the
film. Cuts are PySceneDetect's, on frames at most 256 pixels wide, however near to one another: what is too short
between two is left out by name and not left in its neighbour. The adaptive detector compares a change with those
around it and passes over a cut into wild movement; `find_bursts` looks for those. A frame darker than `footage.black`
is black, and a run of black frames is a boundary too. Memory: half a kilobyte a frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from lct_jax.config import FootageConfig

WIDEST = 256  # pixels of a frame that is looked at
THUMB = (9, 16)  # rows and columns of the picture that is kept of every frame
_STROKE = np.ones((5, 5), np.uint8)  # thicker than a stroke of text on 256 pixels
_CROSS = np.ones((3, 3), np.uint8)
_INK, _SLOPE = (
    24,
    6,
)  # grey levels: of a stroke against its ground, and of ground that still is smooth


@dataclass(frozen=True)
class FrameStats:
    """Frame by frame, [N ...]:

    Attributes:
        thumb: uint8 [N, 9, 16, 3].
        light: float32 [N] mean brightness. change: float32 [N] mean difference to the frame before.
        card: bool [N] looks like text on plain ground.
        cuts: frame numbers that begin a shot, in order.
    """

    thumb: np.ndarray
    light: np.ndarray
    change: np.ndarray
    card: np.ndarray
    cuts: tuple[int, ...]


def track_film(frames: Iterable[np.ndarray], config: FootageConfig, *, fps: float) -> FrameStats:
    """Looks at uint8 RGB frames [X, Y, 3], one in memory at a time."""
    detector = _make_detector(config)
    columns: list[list] = [[] for _ in range(4)]
    cuts, before, number = [], None, -1
    for number, full in enumerate(frames):
        frame = shrink(full)
        bgr = np.ascontiguousarray(frame[..., ::-1])
        cuts += detector.process_frame(FrameTimecode(number, float(fps)), bgr)
        before = frame if before is None else before
        change = cv2.absdiff(frame, before).mean()
        values = (_thumb(frame), frame.mean(), change, _is_card(frame, config))
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        before = frame
    cuts += detector.post_process(FrameTimecode(max(number, 0), float(fps)))
    thumb, light, change, card = columns
    bursts = find_bursts(np.array(change), config) if config.detector == "adaptive" else []
    return FrameStats(
        thumb=np.stack(thumb),
        light=np.array(light, np.float32),
        change=np.array(change, np.float32),
        card=np.array(card),
        cuts=tuple(sorted({cut.frame_num for cut in cuts}.union(bursts))),
    )


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
