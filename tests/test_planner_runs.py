"""Splits, refusals, and runs of shots without cuts in the plan of rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from planning import CHI_SQUARE_8, GRIDS, MIXED, SHOTS, check_share, draw, make_planner, make_table

from lct_jax.errors import InputError

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
