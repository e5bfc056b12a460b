"""Makes the lengths of a synthetic set of the size of the paper's data: shots of mixed length, shape and prompt.

Scenes have 1 to 15 shots (mean about 5, LCT section 3.4). Shots last 1 s and longer at 12 frames a second, log-normal
around 4 s and cut at 125 frames (LCT supplement A.1). Shapes are those of common footage, each at 480x480 pixels of
area, in sides that are multiples of 16. Prompts have lengths like those of a captioning model. Latents are 4x8x8,
tokens 1x2x2.
"""

from __future__ import annotations

import numpy as np

from lct_jax.data.sets.lengths import LengthTable

# These are height and width of footage with its share: 16:9, 4:3, square, 9:16, 2.39:1, 21:9.
SHAPES = {
    (360, 640): 0.55,
    (416, 560): 0.12,
    (480, 480): 0.08,
    (640, 360): 0.15,
    (304, 736): 0.07,
    (320, 720): 0.03,
}
FPS, LONGEST = 12, 125


def draw_lengths(shots: int, *, seed: int = 0) -> LengthTable:
    """Returns a LengthTable of about `shots` shots."""
    rng = np.random.default_rng(seed)
    # Scenes are added until they have as many shots; no set needs more scenes than shots.
    counts = np.clip(rng.geometric(0.2, shots), 1, 15)
    counts = counts[: int(np.searchsorted(counts.cumsum(), shots)) + 1]
    total = int(counts.sum())
    shape_of_scene = rng.choice(len(SHAPES), len(counts), p=list(SHAPES.values()))
    sides = np.array([[h // 8, w // 16 * 2] for h, w in SHAPES])[np.repeat(shape_of_scene, counts)]
    frames = np.clip(rng.lognormal(np.log(4 * FPS), 0.8, total), FPS, LONGEST).astype(int)
    column = lambda values: np.asarray(values, np.int32)
    brief = rng.integers(60, 240, len(counts))
    return LengthTable(
        scene_split=column(np.zeros(len(counts))),
        scene_start=column([0, *np.cumsum(counts)]),
        scene_full=column(brief + rng.integers(20, 60, len(counts))),
        scene_brief=column(brief),
        shot_text=column(rng.integers(30, 120, total)),
        shot_still=column(np.full(total, 4)),
        shot_cut=column(np.ones(total)),
        clip_start=column(np.arange(total + 1)),
        clip_grid=column(np.column_stack([(frames - 1) // 4 + 1, sides // 2 * 2])),
        empty_text=column([1]),
    )
