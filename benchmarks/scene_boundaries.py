"""Compares detected scene boundaries of the film example with its hand-made scene file, over a range of each parameter.

    python -m benchmarks.scene_boundaries

The film is read once (seconds); its takes are then grouped many times. F1 is counted in shots: a boundary is a hit
exactly at the cut, or at most one shot away. Footage that the scene file leaves out, such as titles, belongs to no
scene: a boundary before or after it counts as that between the scenes on both sides. All defaults were chosen on this
film, so the first row shows how well the rule can be fitted, not how well it works on another film; the rows below show
how sensitive that is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app

from lct_jax.cli import load_config
from lct_jax.config import Config, FootageConfig, freeze
from lct_jax.data.footage import grouping
from lct_jax.data.footage.cuts import track_video
from lct_jax.data.footage.takes import Takes, find_takes
from lct_jax.data.scene_file import SceneFile, load_scene_file
from lct_jax.media.frames import read_shape

SCENES = Path("examples/big_buck_bunny/scenes.json")
FIELDS = {
    "scene_price": (0.9, 1.3, 1.7, 2.1, 2.5),
    "scene_usual": (5, 6, 7, 8),
    "scene_shots": (7, 8, 9, 10),
}
# These take the place of the constant of the rule.
UNUSUAL = (0.0, 0.01, 0.02, 0.04)
REPEATS = 1000


def score_boundaries(found: Sequence[int], made: Sequence[int], *, within: int) -> float:
    """Returns the F1 of boundaries, given as numbers of shots or frames; each made one is matched at most once."""
    left, hits = list(made), 0
    for boundary in found:
        close = [other for other in left if abs(other - boundary) <= within]
        if close:
            left.remove(min(close, key=lambda other: abs(other - boundary)))
            hits += 1
    return 2 * hits / (len(found) + len(made))


def place_boundaries(frames: Sequence[int], annotated: SceneFile) -> list[int]:
    """Returns the first frames of scenes as numbers of shots; two frames early or late is the same shot."""
    starts = [
        frames.start
        for scene in annotated.scenes
        for frames, shot in zip(scene.ranges, scene.script.shots, strict=True)
        if shot.cut
    ]
    return [int(np.searchsorted(starts, frame - 2)) for frame in frames]


def find_film_takes(annotated: SceneFile, config: Config) -> Takes:
    """Returns the takes of the film."""
    film, fps = annotated.film.file, config.prepare.fps
    track, _ = track_video(film, config.footage, fps=fps)
    shape = read_shape(film)
    return find_takes(track, config.footage, size=(shape.height, shape.width))


def list_starts(takes: Takes, config: FootageConfig, annotated: SceneFile) -> list[int]:
    """Returns the first frames of a rule's scenes, except the first scene and footage that is not annotated."""
    ranges = [frames for scene in annotated.scenes for frames in scene.ranges]
    starts = []
    for scene in grouping.group_takes(takes, np.flatnonzero(takes.reason == 0).tolist(), config):
        inside = takes.parts[np.isin(takes.parts[:, 0], scene), 1:].tolist()
        shown = [a for a, b in inside if any(r.start <= (a + b) / 2 < r.end for r in ranges)]
        starts += shown[:1]
    return starts[1:]


def _vary(config: FootageConfig) -> Iterator[tuple[str, FootageConfig, float]]:
    """Yields the name of a change, the config, and the constant of the rule."""
    unusual = grouping.UNUSUAL
    yield "defaults", config, unusual
    for name, values in FIELDS.items():
        for value in values:
            yield f"{name} {value}", dataclasses.replace(config, **{name: value}), unusual
    for value in UNUSUAL:
        yield f"unusual {value}", config, value


def main(argv: Sequence[str]) -> None:
    del argv
    annotated = load_scene_file(SCENES)
    config = freeze(load_config("configs/film_tiny.py"))
    takes = find_film_takes(annotated, config)
    made = place_boundaries([s.ranges[0].start for s in annotated.scenes[1:]], annotated)

    def show(name: str, *boundaries: Sequence[int]) -> None:
        exact, near = (
            np.mean([score_boundaries(found, made, within=n) for found in boundaries])
            for n in (0, 1)
        )
        print(f"{name:20} {np.mean([*map(len, boundaries)]):10.0f} {exact:8.2f} {near:8.2f}")

    print(f"{len(made)} boundaries by hand\n{'':20} {'boundaries':>10} {'exact':>8} {'one off':>8}")
    for name, changed, grouping.UNUSUAL in _vary(config.footage):
        show(name, place_boundaries(list_starts(takes, changed, annotated), annotated))
    rng, shots = np.random.default_rng(0), range(1, max(made) + 1)
    show("at random", *(rng.choice(shots, len(made), replace=False) for _ in range(REPEATS)))


if __name__ == "__main__":
    app.run(main)
