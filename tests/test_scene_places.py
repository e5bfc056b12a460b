"""Tests the places of the film example's shots, and the counts made with them."""

from __future__ import annotations

import json

import numpy as np
from tiny_film import ROOT

from benchmarks.scene_places import (
    cross_validate,
    divide_by_chance,
    find_changes,
    measure_places,
)

EXAMPLE = ROOT / "examples/big_buck_bunny"


def test_places_are_named_for_the_shots_of_the_scene_file():
    scenes = json.loads((EXAMPLE / "scenes.json").read_text())["scenes"]
    shots = [shot for scene in scenes for shot in scene["shots"] if shot.get("cut", True)]
    named = json.loads((EXAMPLE / "places.json").read_text())["shots"]
    assert [*map(int, named)] == [shot["frames"][0] for shot in shots]
    assert all(name[0].isupper() and name[1:].isdecimal() for name in named.values())


def test_a_place_that_returns_within_two_shots_is_no_change():
    assert find_changes(["A1", "A2", "B1", "A1", "C1", "C2", "C1", "D1"]) == [4, 7]


def test_long_scenes_are_divided_into_the_fewest_pieces():
    rng = np.random.default_rng(0)
    drawn = [tuple(divide_by_chance([3, 13], 22, 9, rng)) for _ in range(20)]
    assert len({*drawn}) > 1
    for boundaries in drawn:
        assert {3, 13} < {*boundaries} and len(boundaries) == 3
        lengths = np.diff([0, *boundaries, 22])
        assert lengths.min() >= 2 and lengths.max() <= 9


def test_distances_of_places():
    distance = measure_places(["A1", "A2", "A1", "B1"], 0.5, reach=3)
    expected = [[0, 0.5, 0, 0], [0.5, 0, 0.5, 1], [0, 0.5, 0, 1], [0, 1, 1, 0]]
    assert np.allclose(distance / distance[1, 3], expected)
    assert np.isclose(distance[distance > 0].mean(), 1)


def test_cross_validation_scores_quarters_that_did_not_choose():
    made = [1, 3, 5, 7]
    assert cross_validate([made, [2, 4]], made, 8) == 1
    # Each of these is right in one quarter only, so it is never the one chosen for it.
    assert cross_validate([[1, 2, 4, 6], [0, 3, 4, 6]], [1, 3], 8) == 0
