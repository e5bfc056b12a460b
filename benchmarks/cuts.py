"""Compares detected cuts with known ones: at a film's own rate, and among the frames that a set keeps.

    python -m benchmarks.cuts

The program prints the F1 of cuts, placed on frames at 12 a second and right only on the exact frame, on the film
example (whose own rate that is) and on synthetic films at several rates (`cut_clips.py`), and how many frames of a
neighbour the detected shots hold. The last rows count such frames over random cuts, placed from numbers of frames at
each rate.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from absl import app

from benchmarks.cut_clips import KINDS, write_clip
from benchmarks.scene_boundaries import SCENES, score_boundaries
from lct_jax.config import FootageConfig
from lct_jax.data.footage.cuts import track_film, track_video
from lct_jax.data.scene_file import load_scene_file
from lct_jax.media.frame_rate import LAG, count_frames, first_frame
from lct_jax.media.frames import iter_at_rate

STORY = (28, 5863)  # after it come credits, which are no shots
FPS, SHOTS, SEEDS = Fraction(12), 60, 3
NTSC = Fraction(1000, 1001)
RATES = (24 * NTSC, Fraction(24), Fraction(25), 30 * NTSC, Fraction(30), Fraction(50), Fraction(60))
CUTS, HOURS = 10_000, 2


def count_leaks(rate: Fraction, *, cuts: int, seed: int) -> tuple[int, int]:
    """Returns how many shots of a random film hold a frame of a neighbour, by rounding and by `first_frame`."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(int(HOURS * 3600 * rate), cuts + 1, replace=False)).tolist()
    leaks = [0, 0]
    for start, end in itertools.pairwise(places):
        rounded = round(start * float(FPS / rate)), round(end * float(FPS / rate))
        placed = count_frames(start, end, counted=rate, fps=FPS)
        for number, (first, last) in enumerate((rounded, placed)):
            edges = {first, last - 1} if first < last else set()
            # This is the number of the film's own frame that is on screen when a frame is taken.
            shown = [(frame + LAG) / FPS * rate // 1 for frame in edges]
            leaks[number] += any(not start <= own < end for own in shown)
    return leaks[0], leaks[1]


def _find(path: Path, config: FootageConfig) -> dict[str, tuple[int, ...]]:
    kept = ((frame, 1) for frame in iter_at_rate(path, float(FPS)))
    return {
        "kept": track_film(kept, config).cuts,
        "own": track_video(path, config, fps=float(FPS))[0].cuts,
    }


def _score_film(config: FootageConfig) -> None:
    annotated = load_scene_file(SCENES)
    known = [
        frames.start
        for scene in annotated.scenes
        for frames, shot in zip(scene.ranges, scene.script.shots, strict=True)
        if shot.cut and STORY[0] < frames.start < STORY[1]
    ]
    for name, cuts in _find(Path(annotated.film.file), config).items():
        found = [cut for cut in cuts if STORY[0] < cut < STORY[1]]
        scores = " ".join(f"{score_boundaries(found, known, within=n):8.3f}" for n in (0, 2))
        print(f"film example, {name:5} {len(known):6} {len(found):6} {scores}")


def _score_clips(kind: str, rate: Fraction, config: FootageConfig) -> None:
    known, found = 0, {"kept": [0.0, 0], "own": [0.0, 0]}
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            own = write_clip(path, kind, rate=rate, shots=SHOTS, seed=seed)
            cuts = [first_frame(cut / rate, FPS) for cut in own]
            known += len(cuts)
            for name, places in _find(path, config).items():
                found[name][0] += score_boundaries(places, cuts, within=0) / SEEDS
                found[name][1] += len(places)
    rows = "   ".join(f"{name} {f1:.3f} ({count})" for name, (f1, count) in found.items())
    print(f"{kind:7} {float(rate):7.3f} {known:5} {rows}")


def main(argv: Sequence[str]) -> None:
    del argv
    config = FootageConfig()
    print("F1 of cuts: known, found, on the frame, within two frames")
    _score_film(config)
    print("F1 on the frame (found), among the frames kept and at the film's own rate")
    for kind in KINDS:
        for rate in (Fraction(12), *RATES):
            _score_clips(kind, rate, config)
    print(f"shots with a frame of a neighbour, of {CUTS}: rounded, placed")
    for rate in RATES:
        print(f"{float(rate):7.3f} {count_leaks(rate, cuts=CUTS, seed=0)}")


if __name__ == "__main__":
    app.run(main)
