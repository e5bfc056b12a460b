"""Makes films whose cuts are known: landscapes filmed by a moving camera, and drawn figures whose pictures repeat.

Both are drawn from a seed and encoded as H.264; the labels are the numbers of the frames that begin a shot:

    camera   textured landscapes, a square that moves before each; the camera stands, drifts, shakes or pans
             faster and faster, often up to the cut or away from it
    drawn    flat shapes that jump from picture to picture; each picture is shown for two or three frames, as in drawn
             films and in films whose rate was changed
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 96, 160
MOVES = ("stand", "drift", "shake", "pan_out", "pan_in")


def draw_camera(rng: np.random.Generator, length: int, rate: float) -> Iterator[np.ndarray]:
    """Yields the frames of a shot, uint8 [96, 160, 3]: a landscape that is wide enough for the way of the camera."""
    ground = _draw_ground(rng)
    place, colour = _move(rng, np.arange(length) / rate), rng.integers(0, 255, 3)
    for number, (x, y) in enumerate(place):
        frame = ground[16 + y : 16 + y + HEIGHT, x : x + WIDTH].copy()
        left = int(20 + 30 * number / rate) % (WIDTH - 24)
        frame[50:74, left : left + 18] = colour
        yield frame


def draw_figures(rng: np.random.Generator, length: int, rate: float) -> Iterator[np.ndarray]:
    """Yields the frames of a shot, uint8 [96, 160, 3]: discs over plain ground, each picture two or three times."""
    ground = rng.integers(30, 226, 3)
    sides = np.array([WIDTH, HEIGHT])
    centres, speeds = rng.uniform(0, sides, (5, 2)), rng.uniform(-60, 60, (5, 2))
    radii, colours = rng.integers(8, 26, 5), rng.integers(0, 256, (5, 3))
    number = 0
    while number < length:
        frame = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
        # The discs turn back at the borders.
        places = sides - np.abs((centres + speeds * number / rate) % (2 * sides) - sides)
        for place, radius, colour in zip(places, radii, colours, strict=True):
            cv2.circle(
                frame, place.astype(int).tolist(), int(radius), colour.tolist(), thickness=-1
            )
        repeats = min(int(rng.integers(2, 4)), length - number)
        yield from (frame for _ in range(repeats))
        number += repeats


KINDS = {"camera": draw_camera, "drawn": draw_figures}


def write_clip(path: Path, kind: str, *, rate: Fraction, shots: int, seed: int) -> list[int]:
    """Writes a film of shots of 0.5 to 4 seconds; returns the numbers of the frames that begin one, but the first."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(int(rate / 2), int(4 * rate), shots)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for length in lengths:
            for picture in KINDS[kind](rng, int(length), float(rate)):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return np.cumsum(lengths)[:-1].tolist()


def _draw_ground(rng: np.random.Generator) -> np.ndarray:
    """Returns a landscape, uint8 [128, 896, 3]: contrast grows with size, as in photographs, around one colour."""
    ground = np.full((128, 896, 3), rng.uniform(60, 190, 3))
    for size in (4, 8, 16, 32, 64):
        grid = rng.normal(0, 28 * (size / 64) ** 0.5, (128 // size, 896 // size, 3))
        ground += cv2.resize(grid, (896, 128), interpolation=cv2.INTER_CUBIC)
    return ground.clip(0, 255).astype(np.uint8)


def _move(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Returns where the camera points at seconds [n]: int [n, 2], at most 700 columns and 16 rows from the start."""
    kind, rows = rng.choice(MOVES), np.zeros(len(time))
    # Reach in pixels a second, at the fastest, and share of the time.
    reach, share = (rng.uniform(100, 300), time / max(time[-1], 1e-9))
    columns = {
        "stand": np.zeros(len(time)),
        "drift": rng.uniform(8, 40) * time,
        "shake": 4 + 4 * np.sin(rng.uniform(12, 25) * time),
        "pan_out": reach * time[-1] / 4 * share**4,
        "pan_in": reach * time[-1] / 4 * (1 - (1 - share) ** 4),
    }[kind]
    if kind == "shake":
        rows = 4 + 4 * np.sin(rng.uniform(12, 25) * time)
    return np.c_[np.minimum(columns, 700), rows].astype(int)
