"""Measures of sampled scenes, on made-up pictures and features whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from lct_jax.config import FootageConfig
from lct_jax.directing.prompts import ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.evaluation import agreement
from lct_jax.evaluation.bootstrap import estimate_difference, estimate_mean
from lct_jax.evaluation.cuts import judge_cuts, judge_transitions, measure_cuts
from lct_jax.evaluation.features.thumbnail import Thumbnail
from lct_jax.evaluation.measure_row import FilmedShots, Instruments, measure_row
from lct_jax.evaluation.movement import measure_flicker, measure_motion
from lct_jax.evaluation.reference import measure_bias, measure_frechet, measure_retrieval
from lct_jax.evaluation.samples import SampledShots, SeenShots, see_shots
from lct_jax.evaluation.transnet import find_transitions

RED, GREEN = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
# Half of the way between the two: its cosine with either is 0.8 or 0.6.
MIXED = np.array([0.8, 0.6], np.float32)


def make_seen(*units: list[np.ndarray], grey: tuple[float, ...] = ()) -> SeenShots:
    """Returns views of shots with these features; their small pictures have one grey level each, all different."""
    levels = grey or [40.0 * number for number in range(len(units))]
    thumbs = [
        np.full((len(x), 9, 16, 3), level, np.float32)
        for x, level in zip(units, levels, strict=True)
    ]
    return SeenShots(tuple(np.stack(x) for x in units), tuple(thumbs))


def make_shots(
    *texts: str, frames: int = 5, cuts: tuple[bool, ...] = (), **about: str
) -> SampledShots:
    """Returns a scene with these prompts, whose shots have one random colour each."""
    cuts = cuts or (True,) * len(texts)
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (len(texts), 1, 1, 1, 3))
    pictures = [np.broadcast_to(c, (frames, 36, 48, 3)).astype(np.uint8) for c in colours]
    prompts = [
        ShotPrompt(text=text, cut=cut, **about) for text, cut in zip(texts, cuts, strict=True)
    ]
    return SampledShots("scene", 0, Script(None, tuple(prompts)), tuple(pictures))


def test_consistency_of_a_shot_is_the_mean_of_both_neighbours_cosines():
    seen = make_seen([RED, RED], [RED, GREEN, MIXED], [RED])
    # Of the second: (0 + 0) / 2 and (0.8 + 0.6) / 2. A shot of one frame has no consistency.
    assert agreement.measure_within(seen)["shot consistency"] == pytest.approx([1.0, 0.35])


def test_shots_agree_by_the_mean_cosine_of_all_their_frames():
    assert make_seen([RED, GREEN], [RED, MIXED]).agree(0, 1) == pytest.approx(
        (1 + 0.8 + 0 + 0.6) / 4
    )


def test_pairs_without_a_cut_between_are_not_compared():
    shots = make_shots("a", "b", "c", cuts=(True, True, False))
    found = agreement.measure_across(shots, make_seen([RED], [GREEN], [MIXED]))
    assert found["cross-shot consistency"] == pytest.approx([0.0, 0.8])


def test_copies_are_counted_and_left_out():
    shots = make_shots("a", "b", "c")
    found = agreement.measure_across(shots, make_seen([RED], [RED], [MIXED], grey=(10, 15.9, 16.1)))
    assert found["copied shots"] == [1.0, 0.0, 1.0]
    assert found["cross-shot consistency"] == pytest.approx([1.0, 0.8, 0.8])
    assert found["without copies"] == pytest.approx([0.8])


def test_one_frame_that_two_shots_share_makes_a_copy():
    one, other = np.zeros((2, 9, 16, 3)), np.full((3, 9, 16, 3), 99.0)
    assert not agreement.is_copied(one, other)
    other[2] = 5.0
    assert agreement.is_copied(one, other)


def test_gaps_are_counted_from_the_last_shot_of_a_character_or_place():
    texts = [
        "Character 1 waits.",
        "Character 2 sits.",
        "Rain.",
        "Character 1 and Character 2 talk.",
    ]
    found = agreement.measure_over_gaps(
        make_shots(*texts), make_seen([RED], [GREEN], [GREEN], [MIXED])
    )
    assert found["seen 2-3 shots ago"] == pytest.approx([0.8, 0.6])  # 1 after three, 2 after two
    assert found["seen 1 shots ago"] == []
    placed = make_shots("a", "b", place="quay")
    found = agreement.measure_over_gaps(placed, make_seen([RED], [MIXED]))
    assert found["seen 1 shots ago"] == pytest.approx([0.8])


def test_agreement_across_seeds_and_between_scenes():
    one, other = make_seen([RED], [GREEN]), make_seen([MIXED], [GREEN])
    assert agreement.measure_seeds([one, other])["across seeds"] == pytest.approx([0.8, 1.0])
    assert agreement.measure_seeds([one])["across seeds"] == []
    between = agreement.measure_between([make_seen([RED]), make_seen([GREEN]), make_seen([MIXED])])
    assert [cases["between scenes"] for cases in between] == [
        pytest.approx([0.0, 0.8]),
        pytest.approx([0.0, 0.6]),
        pytest.approx([0.8, 0.6]),
    ]


def test_flicker_is_what_jumps_forth_and_back_and_not_what_changes_steadily():
    levels = lambda *values: np.broadcast_to(
        np.array(values, np.uint8).reshape(-1, 1, 1, 1), (len(values), 8, 8, 3)
    )
    assert measure_flicker(levels(10, 20, 10, 20)) == 10.0
    assert measure_flicker(levels(10, 20, 30, 40)) == 0.0


def test_motion_is_the_length_of_a_known_shift_in_percent_of_the_diagonal():
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 256, (16, 20)), np.ones((8, 8))).astype(np.uint8)
    ground = np.repeat(ground[..., None], 3, axis=-1)
    still, moving = (
        np.stack([np.roll(ground, step * number, axis=1)[:96, 16:144] for number in range(4)])
        for step in (0, 2)
    )
    assert measure_motion(still) == pytest.approx(0.0, abs=1e-3)
    assert measure_motion(moving) == pytest.approx(
        100 * 2 / 160, rel=0.1
    )  # 96x128: the diagonal is 160


def test_cuts_are_judged_at_boundaries_and_inside_shots():
    right, inside = judge_cuts(
        (10, 14, 31), {10: True, 20: True, 30: False}, counts=[10, 10, 10, 10]
    )
    assert right == [
        1.0,
        0.0,
        0.0,
    ]  # found, missed, and found one frame behind a boundary without a cut
    assert inside == [0.0, 1.0, 0.0, 0.0]


def test_cuts_of_made_up_shots_are_found_where_they_are():
    shots = make_shots("a", "b", "c", frames=9)
    found = measure_cuts(shots, FootageConfig())
    assert found == {"cuts right": [1.0, 1.0], "cuts inside shots": [0.0, 0.0, 0.0]}
    # A script that asks for no cut where there is one is not obeyed.
    prompts = tuple(ShotPrompt(text="x", cut=cut) for cut in (True, True, False))
    other = SampledShots("scene", 0, Script(None, prompts), shots.frames)
    assert measure_cuts(other, FootageConfig())["cuts right"] == [1.0, 0.0]


def test_transitions_are_runs_of_frames_and_their_distance_counts():
    assert find_transitions(np.array([0.1, 0.5, 0.2, 0.9, 0.9])) == [(1, 1), (3, 4)]
    assert find_transitions(np.zeros(3)) == []
    # The cut before frame 10 is seen at its last frame before; that before 40 is three frames off; 60 is missed.
    found = judge_transitions(
        [(9, 9), (42, 44), (79, 79)], {10: True, 40: True, 60: True, 80: False}
    )
    assert found == {"transition deviation": [0.0, 3.0, 12.0], "false transitions": [1.0]}
    assert judge_transitions([(5, 5)], {})["false transitions"] == [1.0]


def test_retrieval_ranks_the_filmed_shot_of_the_own_prompt():
    filmed = np.stack([RED, GREEN, MIXED])
    found = measure_retrieval(make_seen([MIXED], [RED]), [1, 0], filmed)
    assert found == {"top-1": [0.0, 1.0], "top-5": [1.0, 1.0], "rank": [3.0, 1.0]}


def test_frechet_distance_of_known_distributions():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 4))
    shift = np.array([3.0, 0.0, 4.0, 0.0])
    assert measure_frechet(one, one) == pytest.approx(0.0, abs=1e-9)
    assert measure_frechet(one, one + shift) == pytest.approx(25.0)
    # Of normal distributions on a line it is the squared difference of their deviations.
    line = rng.normal(size=(50, 1))
    assert measure_frechet(line, 3 * line) - 4 * line.mean() ** 2 == pytest.approx(
        4 * line.var(ddof=1)
    )
    # Against the root of a matrix, computed in another way.
    other = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4))
    covariances = [np.cov(x.T) for x in (one, other)]
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    means = np.square(one.mean(0) - other.mean(0)).sum()
    expected = means + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root
    assert measure_frechet(one, other) == pytest.approx(expected)


def test_bias_is_that_of_two_halves_and_needs_four_shots():
    three = {"a": make_seen([RED], [GREEN], [MIXED])}
    assert measure_bias(three) is None
    same = {"a": make_seen([RED, GREEN], [RED, GREEN], [RED, GREEN], [RED, GREEN])}
    assert measure_bias(same) == pytest.approx(0.0, abs=1e-7)


def test_estimates_weigh_cases_alike_and_resample_scenes():
    found = estimate_mean([[1.0, 1.0, 1.0], [0.0], []])
    assert (found.value, found.count) == (0.75, 4)
    assert (found.low, found.high) == (0.0, 1.0)  # one scene alone may be drawn twice
    assert found.show() == "0.75 (0.00 to 1.00)"
    assert estimate_mean([[], []]).value is None
    assert estimate_mean([[], []]).show() == "-"


def test_a_difference_is_that_of_the_same_scenes():
    """One scene is easy and one is hard, which widens both means; one row has 0.25 more in each, and a scene alone."""
    floor = estimate_mean([[0.0, 0.0], [1.0], []])
    row = estimate_mean([[0.25], [1.25, 1.25], [7.0]])
    assert floor.low == 0.0 and floor.high == 1.0
    even = estimate_difference(
        estimate_mean([[0.25] * 2, [1.25]]), estimate_mean([[0.0] * 2, [1.0]])
    )
    assert (even.value, even.low, even.high) == pytest.approx((0.25, 0.25, 0.25))
    assert even.count == 2
    # Means weigh cases: 2.75 / 3 less 1 / 3 over the two scenes that both have.
    found = estimate_difference(row, floor)
    assert found.value == pytest.approx(1.75 / 3) and found.count == 2
    assert found.low == pytest.approx(0.25) and found.high == pytest.approx(1.75 / 3)
    assert estimate_difference(estimate_mean([[1.0]]), floor) is None
    assert estimate_difference(estimate_mean([[1.0], [], []]), floor) is None


def test_a_scene_is_as_far_above_others_as_its_shots_are_more_alike():
    cases = {"cross-shot consistency": [0.5, 0.75], "between scenes": [0.25, 0.5]}
    assert agreement.measure_above(cases) == {"above other scenes": [0.25]}
    assert agreement.measure_above({"between scenes": [0.25]}) == {"above other scenes": []}


def test_a_row_joins_scenes_and_seeds():
    """Two scenes are compared with what was filmed for them: one is that, the other shows the first one's shots."""
    one = make_shots("Character 1 waits.", "b")
    other = SampledShots("other", 0, one.script, tuple(255 - shot for shot in one.frames))
    again = SampledShots("scene", 1, one.script, one.frames)
    wrong = SampledShots("other", 0, one.script, one.frames)
    features = Thumbnail()
    filmed = FilmedShots({s.scene: see_shots(s.frames, features) for s in (one, other)})
    instruments = Instruments(features, FootageConfig(), lpips=None, transnet=None, clip=None)
    found = measure_row([one, again, wrong], instruments, filmed)
    assert found["across seeds"].value == pytest.approx(1.0)
    assert found["top-1"].value == pytest.approx(4 / 6)
    assert found["top-1"].count == 6
    assert found["between scenes"].count == found["above other scenes"].count == 2
    assert found["Frechet"].value > 0.1
    assert measure_row([one, other], instruments, filmed)["Frechet"].value == pytest.approx(
        0, abs=1e-6
    )
    assert "top-1" not in measure_row([one], instruments, FilmedShots({}))
