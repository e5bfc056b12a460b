"""Tests several sets with roles and shares: their names, the draws from each, and refused combinations."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from planning import GRIDS, MIXED, PATCH, make_table, square

from lct_jax.config import DataConfig
from lct_jax.data.mix import SetChoice, SetPart, count_unusable, make_mix, parse_data
from lct_jax.data.planner import Planner, SampleDraw
from lct_jax.data.sets.lengths import NAMES_PEOPLE, LengthTable
from lct_jax.data.sources import render_alone
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

STRICT = dataclasses.replace(MIXED, singles_from_scenes=False)


# ---- how sets are named --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/set", [("runs/set", None, None)]),
        ("a,b=c:0.5", [("a,b=c:0.5", None, None)]),
        ("scenes=A,single=B:0.5", [("A", "scenes", None), ("B", "single", 0.5)]),
        ("single=B:1e-1,scenes=A", [("B", "single", 0.1), ("A", "scenes", None)]),
        ("scenes=a,b:c,single=d=e", [("a,b:c", "scenes", None), ("d=e", "single", None)]),
        ("scenes=2024-01-01T12:x", [("2024-01-01T12:x", "scenes", None)]),
    ],
)
def test_sets_are_read_from_the_flag(text, expected):
    assert parse_data(text) == tuple(SetChoice(*choice) for choice in expected)


def test_a_tilde_is_the_home_of_the_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_data("~/set") == (SetChoice("/home/ada/set"),)
    assert parse_data("single=~/set:0.5") == (SetChoice("/home/ada/set", "single", 0.5),)


def test_an_existing_folder_with_a_colon_is_one_folder(tmp_path):
    (tmp_path / "2024-01-01T12:0.5").mkdir()
    choice = parse_data(f"scenes={tmp_path}/2024-01-01T12:0.5")[0]
    assert choice == SetChoice(f"{tmp_path}/2024-01-01T12:0.5", "scenes", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenes=", "--data: found 'scenes=', expected a folder behind scenes="),
        ("scenes=:0.5", "--data: found 'scenes=:0.5', expected a folder behind scenes="),
        ("single=B:0", "--data: found share 0 in 'single=B:0', expected more than 0 and at most 1"),
        ("single=B:-0.5", "found share -0.5 in"),
        ("single=B:1.5", "found share 1.5 in"),
        ("single=B:nan", "found share nan in"),
        ("single=B:1.2.3", "found share 1.2.3 in"),
        ("gs://bucket/a", "--data: found 'gs://bucket/a', expected a path of this machine's"),
        ("scenes=A,single=s3://b/a", "--data: found 's3://b/a', expected a path of this machine's"),
    ],
)
def test_a_set_that_is_named_wrongly_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        parse_data(text)
    assert message in str(caught.value)


# ---- what is drawn from which --------------------------------------------------------------------

SIZES = ([5] * 40, [9] * 20, [1] * 200, [1] * 100)  # two sets of scenes, two of single shots
OFFSETS = np.cumsum([0, *map(len, SIZES)])
TABLE = LengthTable.join([make_table(shots, grids=GRIDS) for shots in SIZES])


def make_parts(*choices: tuple[str | None, float | None]) -> list[SetPart]:
    """Returns parts of the first sets of the table, by role and share."""
    return [
        SetPart(SetChoice(f"set_{n}", role, share), int(OFFSETS[n]), int(OFFSETS[n + 1]))
        for n, (role, share) in enumerate(choices)
    ]


ALL = make_parts(("scenes", None), ("scenes", None), ("single", None), ("single", None))


def plan(parts: list[SetPart], config: DataConfig = STRICT) -> Planner:
    return Planner(TABLE, config, patch=PATCH, cost=square, parts=parts)


@functools.cache
def take(shares: tuple[float | None, ...]) -> list[SampleDraw]:
    roles = ("scenes", "scenes", "single", "single")
    planner = plan(make_parts(*zip(roles, shares, strict=True)))
    return list(itertools.islice(planner.samples(0), 12_000))


def find_set(sample: SampleDraw) -> int:
    """Returns the number of the set that a sample is from."""
    scene = sample.scene
    if scene is None:
        scene = int(np.searchsorted(TABLE.scene_start, sample.shots[0].shot, side="right")) - 1
    return int(np.searchsorted(OFFSETS, scene, side="right")) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        # Half of all samples are scenes, of which the first set holds 40 of 60, and half single shots, 200 of 300.
        ((None, None, None, None), (1 / 3, 1 / 6, 1 / 3, 1 / 6)),
        ((None, None, 0.2, 0.1), (7 / 15, 7 / 30, 0.2, 0.1)),
        ((0.1, 0.6, None, None), (0.1, 0.6, 0.2, 0.1)),
        ((0.1, None, 0.25, None), (0.1, 0.4, 0.25, 0.25)),
    ],
)
def test_samples_have_the_shares_that_are_stated(shares, expected):
    samples = take(shares)
    counts = np.bincount([find_set(sample) for sample in samples], minlength=4) / len(samples)
    np.testing.assert_allclose(counts, expected, atol=0.018)  # four standard deviations
    for sample in samples:
        assert (sample.scene is None) == (find_set(sample) >= 2)


@pytest.mark.slow
def test_packed_rows_of_two_sets_hold_the_mix_within_a_percent():
    """The rows of many batches hold 2,000 clips and 500 scenes of five shots, one to one."""
    table = LengthTable.join([make_table([5] * 500), make_table([1] * 2000)])
    parts = [
        SetPart(SetChoice("a", "scenes"), 0, 500),
        SetPart(SetChoice("b", "single", 0.5), 500, 2500),
    ]
    config = dataclasses.replace(STRICT, rows=16, video_tokens=9600, text_tokens=2800, groups=96)
    planner = Planner(table, config, patch=PATCH, cost=square, parts=parts)
    packed = [s for number in range(80) for row in planner.batch(number) for s in row]
    assert len(packed) > 20_000
    assert np.mean([s.scene is None for s in packed]) == pytest.approx(0.5, abs=0.01)
    # A run of one shot is drawn once in fifteen from a scene of five.
    several = np.mean([len(s.shots) > 1 for s in packed])
    assert several == pytest.approx(0.5 * 14 / 15, abs=0.01)
    scenes = {s.scene for s in packed}
    assert max(scene for scene in scenes if scene is not None) < 500


def test_a_set_without_a_role_is_divided_by_shot_count():
    parts = [SetPart(SetChoice("folder"), 0, int(OFFSETS[-1]))]
    samples = list(itertools.islice(plan(parts).samples(0), 2000))
    for sample in samples:
        assert (sample.scene is None) == (find_set(sample) >= 2)
    asked = plan(parts, dataclasses.replace(STRICT, singles_from_scenes=True))
    singles = [s for s in itertools.islice(asked.samples(0), 2000) if s.scene is None]
    assert {find_set(sample) for sample in singles} == {0, 1, 2, 3}


def test_a_set_may_be_named_under_both_roles():
    parts = [SetPart(SetChoice("set_0", role), 0, 40) for role in ("scenes", "single")]
    samples = list(itertools.islice(plan(parts).samples(0), 500))
    assert {find_set(sample) for sample in samples} == {0}
    assert 200 < sum(sample.scene is None for sample in samples) < 300


def test_the_state_of_a_mix_is_one_number():
    parts = make_parts(("scenes", 0.3), ("scenes", None), ("single", 0.2))
    whole, resumed = plan(parts), plan(parts)
    assert resumed.batch(19) == [whole.batch(number) for number in range(20)][19]


@pytest.mark.parametrize(
    ("choices", "weight", "message"),
    [
        ([("scenes", None)], 0.5, "found no train single-shot data in set_0, expected some for a"),
        ([(None, None)], 0.5, "take shots of scenes as they are (data.singles_from_scenes=true)"),
        ([("single", None)], 0.5, "found no train scene of two or more shots in set_0"),
        ([("scenes", 0.7), ("scenes", 0.2), ("single", 0.5)], 0.5, "shares sum to 1.4, expected"),
        ([("scenes", 0.3), ("scenes", 0.2), ("single", 0.4)], 0.5, "shares sum to 0.9, expected 1"),
        ([("scenes", 0.5)], 0.0, "shares sum to 0.5, expected 1 without a set of the other role"),
        (
            [("scenes", 0.7), ("scenes", None), ("single", None)],
            0.5,
            "shares of scenes sets sum to 0.7, expected at most 0.5 (data.single_weight is 0.5)",
        ),
        ([("scenes", 1.0), ("single", None)], 0.5, "found nothing left for single=set_1"),
        (
            [("scenes", 0.4), ("scenes", None), ("single", 0.6)],
            0.5,
            "found nothing left for scenes=set_1, expected a share of its own",
        ),
    ],
)
def test_sets_that_cannot_be_mixed_are_refused(choices, weight, message):
    config = dataclasses.replace(STRICT, single_weight=weight)
    with pytest.raises(InputError) as caught:
        plan(make_parts(*choices), config)
    assert message in str(caught.value)


def test_data_without_a_share_may_be_missing():
    assert plan(
        make_parts(("scenes", None)), dataclasses.replace(STRICT, single_weight=0.0)
    ).mix.scenes
    shots = [make_parts(("scenes", None), ("scenes", None), ("single", 1.0))[2]]
    assert plan(shots).mix.single_share == 1.0


def test_validation_without_one_role_prints_a_line():
    split = np.zeros(int(OFFSETS[-1]), np.int32)
    split[:5] = 1
    table = dataclasses.replace(TABLE, scene_split=split)
    mix = make_mix(ALL, table, STRICT, split="held_out")
    assert mix.single_share == 0.0
    assert mix.missing == "no held-out single shot, the run is validated on scenes alone"
    split[-5:] = 1
    mix = make_mix(ALL, table, STRICT, split="held_out")
    assert (mix.single_share, mix.missing) == (0.5, "")


# ---- captions that stand alone -------------------------------------------------------------------


def test_the_caption_of_a_single_shot_describes_its_characters():
    scene = GlobalPrompt({"1": "A tall woman.", "2": "A boy.", "3": "A dog."}, "A quay.", "A day.")
    shot = ShotPrompt("Character 3 and Character 1 wait.")
    expected = "[SHOT CUT] Character 3: A dog. Character 1: A tall woman. Character 3 and Character 1 wait."
    assert render_alone(Script(scene, (shot,))) == expected
    assert render_alone(Script(scene, (shot, shot))) == ""  # no single-shot data
    assert render_alone(Script(scene, (ShotPrompt("Rain."),))) == ""  # it stands alone as it is


def test_shots_with_undescribed_characters_are_not_single_shots():
    alone = np.zeros_like(TABLE.shot_text)
    alone[40 * 5 + 20 * 9 :][:50] = NAMES_PEOPLE
    table = dataclasses.replace(TABLE, shot_alone=alone)
    mix = make_mix(ALL, table, STRICT, split="train")
    assert [len(pool.members) for pool in mix.single] == [150, 100]
    assert count_unusable(ALL, table) == [
        "set_2: 50 of 200 shots have prompts that name people whom only their scene describes, they are not drawn as "
        "single shots"
    ]
