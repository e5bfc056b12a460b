"""Tests that rows cost the same: fill and time fill at the paper's size, an unsorted order, and any number of hosts."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from planning import MIXED, SHOTS, make_planner, make_table

from benchmarks.made_up_lengths import draw_lengths
from lct_jax.backbones.registry import count_costs
from lct_jax.cli import load_config
from lct_jax.config import freeze
from lct_jax.costs.flops import count_work
from lct_jax.data.draws import SampleDraw, ShotDraw
from lct_jax.data.fill import Fill, measure_fill
from lct_jax.data.planner import Planner, Row
from lct_jax.layout import GroupPlan, ScenePlan

POOLS = 2


@pytest.fixture(scope="module")
def paper() -> Planner:
    """Returns a plan of 10,000 synthetic shots, at most nine in a scene, in rows of the paper's size."""
    config = freeze(load_config("configs/lct_3b.py"))
    cost = functools.partial(count_work, count_costs(config.network), context="full")
    return Planner(draw_lengths(10_000), config.data, patch=config.backbone.patch, cost=cost)


@pytest.fixture(scope="module")
def batches(paper) -> list[tuple[Row, ...]]:
    assert paper.samples_a_batch > 0  # counted first, while the planner is at the first pool
    return [paper.batch(number) for number in range(POOLS * paper.config.pool)]


@pytest.mark.slow
def test_rows_of_the_paper_are_filled_and_of_equal_work(paper, batches):
    assert max(len(s.shots) for rows in batches for row in rows for s in row) == 9
    fill = measure_fill(batches, video_tokens=paper.config.video_tokens, cost=paper.cost)
    assert fill.tokens >= 0.95
    assert fill.time >= 0.9


def test_single_shots_and_scenes_weigh_the_same_in_the_loss(paper, batches):
    """They weigh the same over the samples that a batch holds on average, not over those that each batch happens to
    hold."""
    single = [sum(s.scene is None for row in batch for s in row) for batch in batches]
    samples = [sum(map(len, batch)) for batch in batches]
    assert max(samples) > 2 * min(samples)  # even cost, and very different numbers
    planned = sum(single) / (len(batches) * paper.samples_a_batch)
    scenes = (sum(samples) - sum(single)) / (len(batches) * paper.samples_a_batch)
    # With 30,000 samples, five standard deviations of a share are 0.015; packing favours small samples by under 0.01.
    assert planned / (planned + scenes) == pytest.approx(0.5, abs=0.02)
    assert planned + scenes == pytest.approx(1.0, abs=0.02)
    # This is the mean over each batch's own samples.
    assert np.mean(np.divide(single, samples)) < 0.45


def test_samples_a_batch_is_equal_on_every_host_and_after_every_start():
    planner, resumed = (make_planner(make_table(SHOTS), MIXED) for _ in range(2))
    resumed.batch(3 * MIXED.pool)
    first = [len(row) for number in range(MIXED.pool) for row in planner.batch(number)]
    assert planner.samples_a_batch == resumed.samples_a_batch == sum(first) / MIXED.pool


def test_randomly_ordered_rows_have_a_lower_time_fill(paper, batches):
    """The same rows in random order show what balancing is for, and that the measure detects it."""
    rows = [row for batch in batches for row in batch]
    order = np.random.default_rng(0).permutation(len(rows)).reshape(len(batches), -1)
    dealt = [[rows[place] for place in batch] for batch in order]
    fill = measure_fill(dealt, video_tokens=paper.config.video_tokens, cost=paper.cost)
    assert fill.time < 0.8


def test_fill_of_rows_known_by_hand():
    def row(*sizes: int) -> Row:
        samples = []
        for tokens in sizes:
            plan = GroupPlan(0, (tokens, 1, 1))
            shots = (ShotDraw(0, 0, None, plan),)
            samples.append(SampleDraw(None, False, False, shots, ScenePlan(None, (plan,))))
        return tuple(samples)

    square = lambda plan: float(plan.shots[0].video ** 2)
    batches = [(row(8), row(4, 4)), (row(2, 2), row(2, 2))]
    # There are 8 + 8 + 4 + 4 of 4 x 10 tokens; work is 64 and 32 in the first batch, 8 and 8 in the second.
    expected = Fill(tokens=24 / 40, time=pytest.approx((64 + 32 + 8 + 8) / 4 / ((64 + 8) / 2)))
    assert measure_fill(batches, video_tokens=10, cost=square) == expected


def test_balancing_does_not_sort_the_order(paper):
    """Neither the number of a batch nor the batch before it predicts its work, over many pools."""
    config = dataclasses.replace(MIXED, rows=4, pool=8, video_tokens=1200)
    planner = make_planner(make_table(SHOTS), config)
    work = np.array([[planner.work(row) for row in planner.batch(k)] for k in range(320)]).mean(1)
    ranks = np.argsort(np.argsort(work)).astype(float)
    # Six standard deviations of the correlation of independent ranks would be 0.34. Within a pool each batch has its
    # own quantile, hence a small negative correlation of neighbours, about -1/8.
    assert abs(np.corrcoef(np.arange(320), ranks)[0, 1]) < 0.2
    assert -0.35 < np.corrcoef(ranks[:-1], ranks[1:])[0, 1] < 0.1
    # These are the places of the batch of most work in each pool.
    places = np.argsort(work.reshape(-1, 8), axis=1)[:, -1]
    assert np.bincount(places, minlength=8).min() > 0


def rows_of_hosts(numbers: range, hosts: int) -> list[list[Row]]:
    """Returns batches assembled from what some processes read, each with a planner of its own."""
    planners, share = (
        [make_planner(make_table(SHOTS), MIXED) for _ in range(hosts)],
        MIXED.rows // hosts,
    )
    views = [
        [p.batch(k)[i * share : (i + 1) * share] for k in numbers] for i, p in enumerate(planners)
    ]
    return [[row for part in parts for row in part] for parts in zip(*views, strict=True)]


def test_a_run_may_resume_with_any_number_of_processes():
    """Batches 0 to 5 with one process, 6 to 11 with two, and 12 to 17 with four equal those of one process."""
    planner = make_planner(make_table(SHOTS), MIXED)
    expected = [list(planner.batch(k)) for k in range(18)]
    found = [
        batch
        for phase, hosts in enumerate((1, 2, 4))
        for batch in rows_of_hosts(range(6 * phase, 6 * phase + 6), hosts)
    ]
    assert found == expected
    # Nothing is repeated or left out: each pool is exactly a beginning of its stream.
    for pool in range(2):
        start = pool * MIXED.pool
        packed = [s for k in range(start, start + MIXED.pool) for row in found[k] for s in row]
        stream = planner.samples(pool)
        drawn = [next(stream) for _ in packed]
        assert sorted(map(repr, packed)) == sorted(map(repr, drawn))
