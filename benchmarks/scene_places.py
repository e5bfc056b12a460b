"""Scene boundaries of the film example for one who sees where every shot is: what pictures can say at most.

    python -m benchmarks.scene_places

`places.json` names place and camera of every shot, noted by eye. A change of place is a cut with no place in common
between the two shots before it and the two behind. A boundary of the scene file that is none is a beat of the story. F1
is counted as in `scene_boundaries.py`, against the scene file, for

- the changes of place, and those alone that the scene file has: a rule that finds all of these and errs nowhere;
- the latter where what is longer than a scene may be is divided by chance, into the fewest pieces;
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
SIDE = 2  # shots looked at on each side of a cut: shots of two places often take turns
SHORTEST = 2  # shots of a piece, when long scenes are divided by chance
AIM = 0.8
GRID = FIELDS | {"scene_price": tuple(n / 10 for n in range(5, 36, 2))}
SAME_PLACE = (0.3, 0.5, 0.7)  # distance of two cameras in one place; 1 is another place
QUARTERS = 4


def find_changes(shots: Sequence[str]) -> list[int]:
    """Numbers of the shots that begin in another place, of names such as D7: place D, camera 7."""
    places = [name[0] for name in shots]
    return [
        n
        for n in range(1, len(places))
        if not set(places[max(0, n - SIDE) : n]) & set(places[n : n + SIDE])
    ]


def divide_by_chance(
    boundaries: Sequence[int], count: int, longest: int, rng: np.random.Generator
) -> list[int]:
    """Boundaries and as few more as leave no scene of `count` shots longer than `longest`, drawn evenly."""
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
    """Distances [n, n] as `looks.measure_distances` has them, over their mean and 0 from `reach` on.

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
    """F1 where each quarter of the shots is divided by the settings best on the others; a mean over those alike."""
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
    """Boundaries the rule finds by each of the distances, with all settings."""
    found = []
    for matrix in distances:
        grouping.measure_distances = lambda look, *, reach, matrix=matrix: matrix
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
    pictures = grouping.measure_distances(takes.look[kept], reach=reach)
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
