"""Tests the plan on synthetic length tables: order of requests, draws, and budgets of rows."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from lct_jax.config import DataConfig
from lct_jax.data.planner import Planner, SampleDraw
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.errors import InputError
from lct_jax.layout import ScenePlan

PATCH = (1, 2, 2)
GRIDS = ((5, 10, 18), (3, 12, 16), (5, 8, 22), (2, 10, 18), (4, 14, 14))  # 98 to 225 tokens
SHOTS = (2, 9, 5, 12, 4, 7) * 5
MIXED = DataConfig(rows=8, video_tokens=2400, text_tokens=700, groups=24, singles_from_scenes=True)
CHI_SQUARE_8 = 26.1  # exceeded by chance once in a thousand, with 8 degrees of freedom


def make_table(
    shots: Sequence[int],
    *,
    grids: Sequence[tuple[int, int, int]] = GRIDS,
    held_out: Sequence[int] = (),
    clips: int = 2,
    uncut_every: int = 10**6,
) -> LengthTable:
    """Returns a set of scenes with `shots[i]` shots each, of sizes drawn from `grids` and texts of 8 to 40 tokens.

    Of every `uncut_every` shots the second continues without a cut.
    """
    rng = np.random.default_rng(0)
    column = lambda values: np.asarray(values, np.int32)
    count = sum(shots)
    return LengthTable(
        scene_split=column([scene in held_out for scene in range(len(shots))]),
        scene_start=column([0, *np.cumsum(shots)]),
        scene_full=column(rng.integers(40, 80, len(shots))),
        scene_brief=column(rng.integers(20, 40, len(shots))),
        shot_text=column(rng.integers(8, 40, count)),
        shot_still=column([3] * count),
        shot_cut=column(np.arange(count) % uncut_every != 1),
        clip_start=column(np.arange(count + 1) * clips),
        clip_grid=column(np.repeat(rng.choice(grids, count), clips, axis=0)),
        empty_text=column([2]),
    )


def square(plan: ScenePlan) -> float:
    """Returns the work of attention alone."""
    return float(sum(group.video + group.text for group in plan.groups) ** 2)


def make_planner(table: LengthTable, config: DataConfig, *, split: str = "train") -> Planner:
    return Planner(table, config, patch=PATCH, cost=square, split=split)


def draw(planner: Planner, count: int) -> list[SampleDraw]:
    """Returns the first samples of a pool's stream."""
    return list(itertools.islice(planner.samples(0), count))


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


def check_share(hits: Sequence[bool], expected: float) -> None:
    """Checks that a share is within four standard deviations of the config's."""
    assert np.mean(hits) == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) / len(hits))
    )


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


# ---- what fits a row -----------------------------------------------------------------------------

TIGHT = {
    "video": dataclasses.replace(MIXED, video_tokens=700),
    "text": dataclasses.replace(MIXED, text_tokens=140),
    "groups": dataclasses.replace(MIXED, groups=5),
}


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


# ---- splits and errors ---------------------------------------------------------------------------


def test_splits_are_kept_apart():
    table = make_table([4, 5, 3, 6], held_out=(1, 3))
    shots_of = {
        split: {
            shot.shot
            for sample in draw(make_planner(table, MIXED, split=split), 1000)
            for shot in sample.shots
        }
        for split in ("train", "held_out")
    }
    assert shots_of["train"] == {*range(0, 4), *range(9, 12)}
    assert shots_of["held_out"] == {*range(4, 9), *range(12, 18)}


def test_a_split_without_scenes_is_refused():
    with pytest.raises(InputError, match="found no held_out scene, expected at least one"):
        make_planner(make_table([4]), MIXED, split="held_out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"video_tokens": 225},
            "data.video_tokens: found 225, expected at least 226, "
            "the longest single shot of this set with its prompts",
        ),
        ({"video_tokens": 224, "single_weight": 1.0}, "found 224, expected at least 225"),
        ({"text_tokens": 100}, "data.text_tokens: found 100, expected at least 1"),
    ],
)
def test_a_shot_that_fits_no_row_is_refused(change, message):
    with pytest.raises(InputError) as caught:
        make_planner(make_table(SHOTS), dataclasses.replace(MIXED, **change))
    assert message in str(caught.value)


@pytest.mark.parametrize("change", [{}, {"single_weight": 1.0}])
def test_the_smallest_budget_that_is_not_refused_works(change):
    table = make_table(SHOTS)
    text = int(table.shot_text.max() + (0 if change else table.scene_full.max()))
    video = 225 if change else 226
    config = dataclasses.replace(
        MIXED, video_tokens=video, text_tokens=text, groups=2, pool=2, **change
    )
    rows = [row for k in range(4) for row in make_planner(table, config).batch(k)]
    assert all(len(sample.shots) == 1 for row in rows for sample in row)


def test_a_clip_without_a_cut_starts_where_the_clip_before_it_ends():
    table = make_table(SHOTS, clips=4, uncut_every=2)
    seams = [
        (before, after)
        for sample in draw(make_planner(table, MIXED), 400)
        for before, after in itertools.pairwise(sample.shots)
        if not table.shot_cut[after.shot]
    ]
    assert len(seams) > 300
    joined = [(b.clip, a.clip) for b, a in seams if b.still is None is a.still]
    assert set(joined) == {(3, 0)}
    # A still has no motion to join: any still of its shot may stand beside any clip.
    for side in (0, 1):
        stills = {seam[side].still for seam in seams if seam[side].still is not None}
        beside = {seam[1 - side].clip for seam in seams if seam[side].still is not None}
        assert stills == {0, 1, 2}
        assert beside == {0, 1, 2, 3, None}


def test_stills_and_many_clips_keep_the_drawn_shot_counts():
    """Takes are divided, and every shot except a take's last is one clip long. Counts are as without joins."""
    table = make_table([12] * 4)
    cut = np.arange(48) % 4 == 0
    clips = np.where(np.roll(cut, -1), 3, 1)  # the last shot of a take has several
    starts = np.r_[0, np.cumsum(clips)]
    grid = np.repeat(np.asarray(GRIDS[:1], np.int32), starts[-1], axis=0)
    table = dataclasses.replace(
        table, shot_cut=cut.astype(np.int32), clip_start=starts.astype(np.int32), clip_grid=grid
    )
    config = dataclasses.replace(MIXED, single_weight=0.0)
    samples = draw(make_planner(table, config), 3000)
    counts = Counter(len(sample.shots) for sample in samples)
    expected = {count: 3000 * count / 45 for count in range(1, 10)}
    assert sum((counts[n] - e) ** 2 / e for n, e in expected.items()) < CHI_SQUARE_8
    inside = [shot.still is not None for sample in samples for shot in sample.shots[1:-1]]
    check_share(inside, 0.1)


@pytest.mark.parametrize(("clips", "longest"), [(1, 9), (2, 2)])
def test_runs_without_cuts_end_where_clips_do_not_join(clips, longest):
    """No shot here starts with a cut. A shot of two clips is not shown to its end, so a third shot would leave a
    gap."""
    table = make_table([12], clips=clips)
    table = dataclasses.replace(table, shot_cut=np.zeros_like(table.shot_cut))
    config = dataclasses.replace(MIXED, frame_probability=0.0)
    lengths = {len(sample.shots) for sample in draw(make_planner(table, config), 400)}
    assert max(lengths) == longest


def test_stills_in_runs_without_cuts_keep_the_drawn_shot_counts():
    """With one clip for each shot every run is shown whole, whichever of its shots are stills."""
    table = make_table([9] * 4, clips=1)
    table = dataclasses.replace(table, shot_cut=np.zeros_like(table.shot_cut))
    config = dataclasses.replace(MIXED, single_weight=0.0, frame_probability=0.5)
    samples = draw(make_planner(table, config), 3000)
    counts = Counter(len(sample.shots) for sample in samples)
    expected = {count: 3000 * count / 45 for count in range(1, 10)}
    assert sum((counts[n] - e) ** 2 / e for n, e in expected.items()) < CHI_SQUARE_8
