"""What one pass over a film finds: its cuts and fades, and small pictures and numbers of every frame.

A film enters frame by frame at the configured rate; a `Track` leaves, on which everything later is decided without the
film. Cuts are PySceneDetect's, on frames at most 256 pixels wide; a frame darker than `footage.black` is black, and a
run of black frames is a boundary too. Memory: half a kilobyte a frame.
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
HUES = 16  # bins of hue
_STROKE = np.ones((5, 5), np.uint8)  # thicker than a stroke of text on 256 pixels
_CROSS = np.ones((3, 3), np.uint8)
_INK, _SLOPE = (
    24,
    6,
)  # grey levels: of a stroke against its ground, and of ground that still is smooth


@dataclass(frozen=True)
class Track:
    """Frame by frame, [N ...]:

    Attributes:
        thumb: uint8 [N, 9, 16, 3]. hue: float32 [N, 16] shares of hues.
        light: float32 [N] mean brightness. change: float32 [N] mean difference to the frame before.
        card: bool [N] looks like text on plain ground.
        cuts: frame numbers that begin a shot, in order.
    """

    thumb: np.ndarray
    hue: np.ndarray
    light: np.ndarray
    change: np.ndarray
    card: np.ndarray
    cuts: tuple[int, ...]


def track_film(frames: Iterable[np.ndarray], config: FootageConfig, *, fps: float) -> Track:
    """Looks at uint8 RGB frames [X, Y, 3], one in memory at a time."""
    detector = _make_detector(config)
    columns: list[list] = [[] for _ in range(5)]
    cuts, before, number = [], None, -1
    for number, full in enumerate(frames):
        frame = shrink(full)
        bgr = np.ascontiguousarray(frame[..., ::-1])
        cuts += detector.process_frame(FrameTimecode(number, float(fps)), bgr)
        before = frame if before is None else before
        change = cv2.absdiff(frame, before).mean()
        values = (_thumb(frame), _hue(frame), frame.mean(), change, _is_card(frame, config))
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        before = frame
    cuts += detector.post_process(FrameTimecode(max(number, 0), float(fps)))
    thumb, hue, light, change, card = columns
    return Track(
        thumb=np.stack(thumb),
        hue=np.stack(hue),
        light=np.array(light, np.float32),
        change=np.array(change, np.float32),
        card=np.array(card),
        cuts=tuple(sorted({cut.frame_num for cut in cuts})),
    )


def shrink(frame: np.ndarray) -> np.ndarray:
    """A frame at most `WIDEST` pixels wide, its aspect ratio kept."""
    height, width = frame.shape[:2]
    if width <= WIDEST:
        return np.ascontiguousarray(frame)
    size = (WIDEST, max(1, round(height * WIDEST / width)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _make_detector(config: FootageConfig) -> SceneDetector:
    shortest = config.shortest
    if config.detector == "content":
        return ContentDetector(threshold=config.cut_threshold, min_scene_len=shortest)
    return AdaptiveDetector(
        adaptive_threshold=config.cut_threshold,
        min_content_val=config.cut_contrast,
        min_scene_len=shortest,
    )


def _thumb(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, THUMB[::-1], interpolation=cv2.INTER_AREA)


def _hue(frame: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0], None, [HUES], [0, 180]).ravel()
    return counts / counts.sum()


def _is_card(frame: np.ndarray, config: FootageConfig) -> bool:
    """Thin strokes, lighter or darker than what is around them, over ground without texture."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    light = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, _STROKE)
    dark = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, _STROKE)
    ground = cv2.morphologyEx(grey, cv2.MORPH_OPEN, _STROKE)
    slope = cv2.morphologyEx(ground, cv2.MORPH_GRADIENT, _CROSS)
    ink = (cv2.max(light, dark) > _INK).mean()
    return bool(ink >= config.ink and (slope <= _SLOPE).mean() >= config.smooth)
