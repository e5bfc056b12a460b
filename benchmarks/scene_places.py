"""Finds scene boundaries of the film example from the known place of every shot, as a limit of what pictures can tell.

    python -m benchmarks.scene_places

`places.json` names place and camera of every shot, noted by eye. A change of place is a cut with no place in common
between the two shots before it and the two after it. A boundary of the scene file at which the place does not change is
one of the story. F1 is counted as in `scene_boundaries.py`, against the scene file, for

- the changes of place, and those among them that the scene file has: a rule that finds all of these and no others;
- the latter, with scenes that are too long divided at random into the fewest pieces;
- the rule of `lct_jax/data/footage/grouping.py` with its distances from pictures, and with distances from places; its
  numbers chosen on the whole film (fitted), or on three quarters of it and counted on the fourth (cross-validated).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app

from benchmarks.scene_boundaries import (
    FIELDS,
    REPEATS,
    SCENES,
    UNUSUAL,
    find_film_takes,
    list_starts,
    place_boundaries,
    score_boundaries,
)
from lct_jax.cli import load_config
from lct_jax.config import FootageConfig, freeze
from lct_jax.data.footage import grouping
from lct_jax.data.footage.takes import Takes
from lct_jax.data.scene_file import SceneFile, load_scene_file

PLACES = Path("examples/big_buck_bunny/places.json")
# Shots compared on each side of a cut, because shots of two places often alternate.
SIDE = 2
# Shots of a piece, when long scenes are divided at random.
SHORTEST = 2
AIM = 0.8
GRID = FIELDS | {"scene_price": tuple(n / 10 for n in range(5, 36, 2))}
# Distance of two cameras in one place; that of two places is 1.
SAME_PLACE = (0.3, 0.5, 0.7)
QUARTERS = 4


def find_changes(shots: Sequence[str]) -> list[int]:
    """Returns the numbers of the shots that begin in another place, by names such as D7: place D, camera 7."""
    places = [name[0] for name in shots]
    return [
        n
        for n in range(1, len(places))
        if not set(places[max(0, n - SIDE) : n]) & set(places[n : n + SIDE])
    ]


def divide_by_chance(
    boundaries: Sequence[int], count: int, longest: int, rng: np.random.Generator
) -> list[int]:
    """Returns boundaries and the fewest more, drawn evenly, that leave no scene of `count` shots longer than
    `longest`."""
    divided = list(boundaries)
    for start, end in itertools.pairwise([0, *boundaries, count]):
        more = -(-(end - start) // longest) - 1
        while more:
            chosen = sorted(rng.choice(np.arange(start + 1, end), more, replace=False).tolist())
            lengths = np.diff([start, *chosen, end])
            if lengths.min() >= SHORTEST and lengths.max() <= longest:
                divided += chosen
                break
    return sorted(divided)


def measure_places(shots: Sequence[str], same_place: float, *, reach: int) -> np.ndarray:
    """Returns distances [n, n] like `similarity.measure_distances`, divided by their mean, and 0 from `reach` on.

    Two shots of one camera are 0 apart, two of one place `same_place`, others 1.
    """
    names, numbers = np.array(shots), np.arange(len(shots))
    places = np.array([name[0] for name in shots])
    far = np.where(places[:, None] == places, same_place, 1.0) * (names[:, None] != names)
    far *= np.abs(numbers[:, None] - numbers) < reach
    return far / far[far > 0].mean()


def _vary(config: FootageConfig) -> Iterator[tuple[FootageConfig, float]]:
    for *values, unusual in itertools.product(*GRID.values(), UNUSUAL):
        changed = dict(zip(GRID, values, strict=True))
        yield dataclasses.replace(config, **changed), unusual


def cross_validate(found: Sequence[Sequence[int]], made: Sequence[int], count: int) -> float:
    """Returns the F1 of each quarter of the shots with the settings that are best on the others; equal settings are
    averaged."""
    edges = np.linspace(0, count, QUARTERS + 1)
    tally = np.zeros((len(found), QUARTERS, 2))  # hits, and boundaries of both kinds
    for quarter, (low, high) in enumerate(itertools.pairwise(edges)):
        for setting, boundaries in enumerate(found):
            ours, theirs = ([b for b in some if low <= b < high] for some in (boundaries, made))
            tally[setting, quarter] = len({*ours} & {*theirs}), len(ours) + len(theirs)
    total = np.zeros(2)
    for quarter in range(QUARTERS):
        hits, both = np.delete(tally, quarter, axis=1).sum(axis=1).T
        score = hits / both
        total += tally[np.isclose(score, score.max()), quarter].mean(axis=0)
    return 2 * total[0] / total[1]


def _fit(
    takes: Takes,
    distances: Sequence[np.ndarray],
    config: FootageConfig,
    annotated: SceneFile,
) -> list[list[int]]:
    """Returns the boundaries that the rule finds with each of the distances and with all settings."""
    found = []
    for matrix in distances:
        grouping.measure_distances = lambda thumbs, *, reach, matrix=matrix: matrix
        for changed, grouping.UNUSUAL in _vary(config):
            found.append(place_boundaries(list_starts(takes, changed, annotated), annotated))
    return found


def main(argv: Sequence[str]) -> None:
    del argv
    annotated = load_scene_file(SCENES)
    config = freeze(load_config("configs/film_tiny.py"))
    takes = find_film_takes(annotated, config)
    named = json.loads(PLACES.read_text())["shots"]
    shots, starts = [*named.values()], np.array([*map(int, named)])
    made = place_boundaries([s.ranges[0].start for s in annotated.scenes[1:]], annotated)
    longest = config.footage.scene_shots
    changes = find_changes(shots)
    beats = [n for n in made if n not in changes]
    shared = [n for n in made if n in changes]

    def show(name: str, boundaries: Sequence[int]) -> None:
        exact, near = (score_boundaries(boundaries, made, within=n) for n in (0, 1))
        print(f"{name:36} {len(boundaries):10} {exact:8.2f} {near:8.2f}")

    print(
        f"by hand: {len(shared)} changes of place; {len(beats)} beats of the story at",
        *starts[beats],
    )
    print("changes of place not made by hand:", *starts[[n for n in changes if n not in made]])
    defaults = place_boundaries(list_starts(takes, config.footage, annotated), annotated)
    for name, some in (("changes of place", shared), ("beats", beats)):
        missed = starts[[n for n in some if n not in defaults]]
        print(f"the rule hits {len(some) - len(missed)} of {len(some)} {name}, not", *missed)

    print(f"\n{'':36} {'boundaries':>10} {'exact':>8} {'one off':>8}")
    show("changes of place", changes)
    show("changes of place made by hand", shared)
    rng = np.random.default_rng(0)
    drawn = (divide_by_chance(shared, len(shots), longest, rng) for _ in range(REPEATS))
    scores = np.array([score_boundaries(some, made, within=0) for some in drawn])
    print(
        f"  divided by chance: exact {scores.mean():.2f}, {(scores >= AIM).mean():.1%} reach {AIM}"
    )

    kept = np.flatnonzero(takes.reason == 0)
    middles = takes.frames[kept].mean(axis=1)
    seen = [shots[n] for n in np.searchsorted(starts[1:], middles, side="right")]
    reach = max(GRID["scene_shots"])
    pictures = grouping.measure_distances(takes.thumbs[kept], reach=reach)
    places = [measure_places(seen, same, reach=reach) for same in SAME_PLACE]
    for name, distances in (("pictures", [pictures]), ("places", places)):
        found = _fit(takes, distances, config.footage, annotated)
        show(
            f"the rule by {name}, fitted",
            max(found, key=lambda some: score_boundaries(some, made, within=0)),
        )
        print(f"  cross-validated: exact {cross_validate(found, made, len(shots)):.2f}")


if __name__ == "__main__":
    app.run(main)
