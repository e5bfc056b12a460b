"""Tests the plan on synthetic length tables: order of requests, draws, and budgets of rows."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from planning import CHI_SQUARE_8, GRIDS, MIXED, SHOTS, check_share, draw, make_planner, make_table

from lct_jax.config import DataConfig
from lct_jax.data.planner import Planner, SampleDraw


def collect(planner: Planner, pools: int) -> list[SampleDraw]:
    """Returns the samples in the rows of some pools, on which a run trains."""
    batches = range(pools * planner.config.pool)
    return [sample for k in batches for row in planner.batch(k) for sample in row]


@pytest.fixture(scope="module")
def mixed() -> Planner:
    return make_planner(make_table(SHOTS), MIXED)


@pytest.fixture(scope="module")
def few() -> Planner:
    """Returns scenes of five shots of one size, in rows that hold five such shots and a global prompt."""
    config = DataConfig(
        rows=2, video_tokens=1126, text_tokens=448, groups=8, max_shots=5, singles_from_scenes=True
    )
    return make_planner(make_table([5] * 8, grids=GRIDS[:1]), config)


# ---- a function of seed and number ---------------------------------------------------------------


def test_batch_does_not_depend_on_earlier_requests(mixed):
    in_order = [mixed.batch(k) for k in range(20)]
    fresh = make_planner(make_table(SHOTS), MIXED)
    for k in (17, 3, 3, 19, 0, 8, 7):
        assert fresh.batch(k) == in_order[k]
    assert len({repr(batch) for batch in in_order}) == 20


@pytest.mark.programs
def test_batch_is_the_same_in_another_process(mixed):
    expected = mixed.batch(9)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(mixed.batch, 9).result() == expected


def test_another_seed_is_another_plan(mixed):
    other = make_planner(make_table(SHOTS), dataclasses.replace(MIXED, seed=1))
    assert other.batch(0) != mixed.batch(0)


# ---- what is drawn -------------------------------------------------------------------------------


def test_shot_counts_are_drawn_in_proportion_to_the_count():
    config = dataclasses.replace(MIXED, single_weight=0.0)
    samples = draw(make_planner(make_table([12] * 4), config), 3000)
    counts = Counter(len(sample.shots) for sample in samples)
    expected = {count: 3000 * count / 45 for count in range(1, 10)}
    assert set(counts) == set(expected)
    assert sum((counts[n] - e) ** 2 / e for n, e in expected.items()) < CHI_SQUARE_8


def test_a_short_scene_gives_at_most_its_shots():
    config = dataclasses.replace(MIXED, single_weight=0.0)
    samples = draw(make_planner(make_table([3, 3]), config), 600)
    counts = Counter(len(sample.shots) for sample in samples)
    assert set(counts) == {1, 2, 3}
    assert counts[3] / 600 == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 600))


def test_shots_are_consecutive_and_of_their_scene():
    planner, starts = make_planner(make_table([4] * 5), MIXED), set()
    for sample in draw(planner, 1000):
        numbers = [shot.shot for shot in sample.shots]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        if sample.scene is not None:
            of_scene = planner.lengths.shots_of(sample.scene)
            assert set(numbers) <= set(of_scene)
            starts.add(numbers[0] - of_scene.start)
        else:
            assert len(numbers) == 1
    assert starts == {0, 1, 2, 3}


def test_shares_are_those_of_the_config(mixed):
    samples = draw(mixed, 4000)
    check_share([sample.scene is None for sample in samples], 0.5)
    check_share([not sample.story for sample in samples], 0.3)
    check_share([not sample.written for sample in samples], 0.1)
    shots = {True: [], False: []}
    for sample in samples:
        shots[sample.scene is None] += [shot.still is not None for shot in sample.shots]
    check_share(shots[False], 0.1)
    assert not any(shots[True])  # frame substitution is for scene data


def test_packing_keeps_the_shares_of_drawn_samples(few):
    """A row holds little more than a scene, so that passing over large samples to fill rows would show here."""
    packed, drawn = collect(few, 60), draw(few, 4000)
    assert np.mean([sample.scene is None for sample in packed]) == pytest.approx(0.5, abs=0.03)
    scenes = [sample for sample in packed if sample.scene is not None]
    frames = [shot.still is not None for sample in scenes for shot in sample.shots]
    assert np.mean(frames) == pytest.approx(0.1, abs=0.015)
    sizes = [np.mean([sample.cost[0] for sample in samples]) for samples in (packed, drawn)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_a_pool_holds_the_first_samples_of_its_stream(mixed):
    packed = [repr(s) for k in range(MIXED.pool) for row in mixed.batch(k) for s in row]
    assert sorted(packed) == sorted(map(repr, draw(mixed, len(packed))))


def test_a_frame_is_one_latent_frame_and_dropped_text_is_the_empty_prompt(mixed):
    lengths = mixed.lengths
    for sample in draw(mixed, 1000):
        for shot in sample.shots:
            first, end = lengths.clip_start[shot.shot : shot.shot + 2]
            frames, rows, columns = lengths.clip_grid[first]
            if shot.still is None:
                assert 0 <= shot.clip < end - first
            else:
                assert shot.clip is None
                assert 0 <= shot.still < 3
                frames = 1
            assert shot.plan.grid == (frames, rows // 2, columns // 2)
            assert shot.plan.text == (lengths.shot_text[shot.shot] if sample.written else 2)
        if sample.scene is not None:
            column = lengths.scene_full if sample.story else lengths.scene_brief
            assert sample.plan.global_text == (column[sample.scene] if sample.written else 2)


TIGHT = {
    "video": dataclasses.replace(MIXED, video_tokens=700),
    "text": dataclasses.replace(MIXED, text_tokens=140),
    "groups": dataclasses.replace(MIXED, groups=5),
}


# ---- what fits a row -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIGHT)
def test_no_row_is_over_its_budget_and_long_samples_are_cut(name):
    config = TIGHT[name]
    planner = make_planner(make_table(SHOTS), config)
    budget = (config.video_tokens, config.text_tokens, config.groups)
    longest = 0
    for k in range(10):
        rows = planner.batch(k)
        assert len(rows) == config.rows
        for row in rows:
            assert row
            assert (sum(sample.cost for sample in row) <= budget).all()
            longest = max(longest, *(len(sample.shots) for sample in row))
    assert 2 <= longest < 9


def test_a_cut_sample_keeps_its_first_shots_and_nothing_else_changes():
    table = make_table(SHOTS)
    whole = draw(make_planner(table, MIXED), 500)
    tight = draw(make_planner(table, TIGHT["video"]), 500)
    cut = 0
    for long, short in zip(whole, tight, strict=True):
        kept = len(short.shots)
        assert (short.scene, short.story, short.written) == (long.scene, long.story, long.written)
        assert short.shots == long.shots[:kept]
        if kept < len(long.shots):
            cut += 1
            following = long.shots[kept].plan
            assert short.cost[0] + following.video > TIGHT["video"].video_tokens
    assert cut > 20


@pytest.mark.parametrize(("name", "expected"), [("mixed", 0.97), ("few", 0.9)])
def test_rows_are_filled(name, expected, request):
    planner = request.getfixturevalue(name)
    config, samples = planner.config, collect(planner, 4)
    used = sum(int(sample.cost[0]) for sample in samples)
    assert used / (4 * config.pool * config.rows * config.video_tokens) > expected
