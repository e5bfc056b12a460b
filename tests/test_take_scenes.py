"""Scenes that are grouped from takes."""

from __future__ import annotations

import numpy as np
import pytest

from lct_jax.config import FootageConfig
from lct_jax.data.footage.grouping import SeenShots, group_takes
from lct_jax.data.footage.similarity import measure_distances
from lct_jax.data.footage.takes import THUMBS_A_TAKE, Takes


def scatter(kinds: list[int], *, starts: list[int] | None = None, parts: int = 1) -> Takes:
    """Returns takes of 20 frames that resemble one of a few places, each divided into `parts`."""
    rng, count = np.random.default_rng(0), len(kinds)
    places = rng.integers(0, 255, (max(kinds) + 1, THUMBS_A_TAKE, 9, 16, 3))
    thumbs = np.clip(places[kinds] + rng.integers(-5, 5, (count, THUMBS_A_TAKE, 9, 16, 3)), 0, 255)
    starts = [20 * n for n in range(count)] if starts is None else starts
    frames = np.array([[start, start + 20] for start in starts], np.int32)
    pieces = [(n, 0, 1) for n in range(count) for _ in range(parts)]
    column = lambda *values: np.array(values, np.int32)
    return Takes(frames, np.zeros(count, np.int32), column(*pieces), column(0, 0),
                 thumbs.astype(np.uint8), column(20 * count, 48, 64))  # fmt: skip


# ---- scenes --------------------------------------------------------------------------------------


def test_distances_of_takes_by_pictures_border_colours_and_slopes():
    thumbs = np.full((4, THUMBS_A_TAKE, 9, 16, 3), 100, np.uint8)
    thumbs[1, :, 4:7, 6:10] = 200  # something in the middle
    thumbs[2, 1:] = (200, 40, 40)  # another ground, except for one frame
    thumbs[3] = (200, 40, 40)
    distance = measure_distances(thumbs, reach=3)
    assert distance[0, 2] == 0  # of the nearest frames
    assert distance[0, 3] == 0  # out of reach
    np.testing.assert_array_equal(distance, distance.T)
    # For pictures, 12 of 144 pixels differ by 100 (takes 0 and 1, 1 and 2); elsewhere 132 differ by (100 + 60 + 60) / 3
    # and 12 by (0 + 160 + 160) / 3 (1 and 3). Borders have no colour in common (1 and 3). Slopes are 1400 grey levels,
    # two on each of 14 edges (1), or none: 1 of 1401 is shared. Every part counts in its mean where it is above 0.
    thing, other = 100 * 12 / 144, (132 * 220 / 3 + 12 * 320 / 3) / 144
    mean = (2 * thing + other) / 3
    for place, picture, border in (((0, 1), thing, 0), ((1, 2), thing, 0), ((1, 3), other, 1)):
        assert distance[place] == pytest.approx((picture / mean + border + 1) / 3, rel=1e-6)


def test_shots_of_one_place_make_a_scene():
    takes = scatter([0] * 5 + [1] * 4 + [2] * 6)
    scenes = group_takes(takes, range(15), FootageConfig())
    assert scenes == [list(range(5)), list(range(5, 9)), list(range(9, 15))]


def test_a_scene_that_cuts_between_two_places_is_one():
    takes = scatter([0, 1, 0, 1, 0, 1, 2, 2, 2, 2, 2, 2])
    assert group_takes(takes, range(12), FootageConfig()) == [list(range(6)), list(range(6, 12))]


def test_scenes_have_at_most_so_many_shots_and_no_gap():
    takes = scatter([0] * 12, starts=[20 * n + (40 if n > 2 else 0) for n in range(12)])
    scenes = group_takes(takes, range(12), FootageConfig())
    assert [0, 1, 2] in scenes
    assert max(map(len, scenes)) <= 9
    assert sorted(take for scene in scenes for take in scene) == list(range(12))
    divided = group_takes(scatter([0] * 4, parts=10), range(4), FootageConfig())
    assert divided == [[0], [1], [2], [3]]
    assert group_takes(takes, [], FootageConfig()) == []


def test_a_repeated_shot_is_found_in_spite_of_noise():
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 250, (50, THUMBS_A_TAKE, 9, 16, 3)).astype(np.uint8)
    seen = SeenShots(FootageConfig())
    assert [seen.add(thumbs, 20) for thumbs in shown] == [False] * 50
    noisy = shown + rng.integers(0, 3, shown.shape).astype(np.uint8)
    assert [seen.add(thumbs, 21) for thumbs in noisy] == [True] * 50
    assert not seen.add(shown[0], 30)  # of another length
    assert not seen.add(np.clip(shown[1].astype(int) + 5, 0, 255).astype(np.uint8), 20)


def test_takes_are_saved_and_loaded(tmp_path):
    takes = scatter([0, 1, 0])
    takes.save(tmp_path / "takes.safetensors")
    for name, column in vars(Takes.load(tmp_path / "takes.safetensors")).items():
        np.testing.assert_array_equal(column, getattr(takes, name))
