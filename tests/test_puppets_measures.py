"""Tests measures of puppet scenes: literal counts, chance for independent shots, and the coverage of intervals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lct_jax.evaluation.puppet_measures import Tally, chance_of, judge_scene, measure
from lct_jax.evaluation.puppet_table import (
    COLUMNS,
    read_shares,
    read_tallies,
    summarize,
    to_markdown,
)
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import OF_ENVIRONMENT, Drawing, draw_scene

EXAMPLES = Path(__file__).parents[1] / "examples"
RETURNING = Drawing(shots=(8, 8), withhold=0.5, sizes=((32, 32),), frames=(5,), absence=5)


def judge_rendered(
    number: int, drawing: Drawing = RETURNING, *, alone: bool = False, given: tuple[int, ...] = ()
) -> dict:
    """Returns the tallies of a rendered scene; `alone` renders every shot with withheld attributes drawn again."""
    scene = draw_scene(11, number, drawing)
    seen = []
    for place, shot in enumerate(scene.shots):
        shown = scene
        if alone:
            other = draw_scene(12, 100 * number + place, RETURNING)
            free = {n: getattr(other.environment, n) for n in OF_ENVIRONMENT if n in scene.withheld}
            shown = dataclasses.replace(
                scene, environment=dataclasses.replace(scene.environment, **free)
            )
        seen.append(read_shot(render_shot(shown, shot)))
    return judge_scene(scene, seen, given=given)


def test_a_rendered_scene_is_right_in_everything():
    tallies = [judge_rendered(number, given=(0,) if number % 2 else ()) for number in range(4)]
    for scene in tallies:
        for name, tally in scene.items():
            assert tally.right == tally.readable, name
            assert tally.readable <= tally.asked
    shares = summarize(tallies)
    assert all(shares[column].value == 1.0 for column in COLUMNS)
    assert shares["environment agree at distance 7"].count > 0


def test_independently_drawn_shots_agree_by_chance():
    stills = dataclasses.replace(RETURNING, withhold=0.8, frames=(1,))
    tallies = [judge_rendered(number, stills, alone=True) for number in range(16)]
    for name in ("sky", "ground"):
        share = measure(tallies, lambda found, name=name: found == f"agrees/{name}")
        assert share.count > 250
        chance = chance_of(name)  # pairs of evenly drawn values agree independently of each other
        assert abs(share.value - chance) < 3 * np.sqrt(chance * (1 - chance) / share.count)
    # Stated attributes are shown all the same.
    assert measure(tallies, lambda found: found == "obeys/sky").value == 1.0


def test_pairs_and_returns_are_counted():
    scene = draw_scene(11, 0, dataclasses.replace(RETURNING, withhold=1.0))
    tallies = judge_scene(scene, [read_shot(render_shot(scene, shot)) for shot in scene.shots])
    assert tallies["agrees/sky"] == Tally(28, 28, 28)  # pairs of eight shots
    assert tallies["agrees/sky/1"] == Tally(7, 7, 7)
    assert tallies["agrees/sky/7"] == Tally(1, 1, 1)
    alone = [number for number, shot in enumerate(scene.shots) if shot.subjects == (1,)]
    assert tallies["agrees/1.colour"].asked == len(alone) * (len(alone) - 1) // 2
    assert alone == [0, 6, 7]
    # The character is away between 0 and 6; between 0 and 7 it has returned.
    assert tallies["returns/1.colour"].asked == 1
    assert not any(name.startswith("obeys/") for name in tallies)


def test_given_shots_are_not_judged_but_compared_with():
    scene = draw_scene(11, 0, dataclasses.replace(RETURNING, withhold=1.0))
    seen = [read_shot(render_shot(scene, shot)) for shot in scene.shots]
    elsewhere = next(sky for sky in OF_ENVIRONMENT["sky"] if sky != scene.environment.sky)
    seen[0] = dataclasses.replace(seen[0], first=dataclasses.replace(seen[0].first, sky=elsewhere))
    tallies = judge_scene(scene, seen, given={0})
    assert tallies["keeps/sky"] == Tally(0, 7, 7)
    assert tallies["keeps/sky/7"] == Tally(0, 1, 1)
    assert tallies["agrees/sky"] == Tally(21, 21, 21)  # of seven that were sampled
    assert tallies["keeps/1.colour"].asked == 2  # in 6 and 7, as in 0
    assert tallies["returns/1.colour"].asked == 1
    assert tallies["who"].asked == 7
    both = judge_scene(scene, seen, given={0, 1})
    assert both["keeps/sky"].asked == 12  # the two given shots are no pair


def test_chance_is_one_of_the_values():
    assert chance_of("sky") == 0.25
    assert chance_of("2.hat") == pytest.approx(1 / 3)


def test_a_share_leaves_out_unreadable_cases():
    scenes = [{"cut": Tally(3, 4, 8)}, {"cut": Tally(1, 4, 8), "who": Tally(0, 9, 9)}]
    share = measure(scenes, lambda name: name == "cut")
    assert (share.value, share.told, share.count) == (0.5, 0.5, 8)
    # The interval is that of drawing one scene twice.
    assert (share.low, share.high) == (0.25, 0.75)
    nothing = measure(scenes, lambda name: name == "framing")
    assert (nothing.value, nothing.count) == (None, 0)


def test_bootstrap_intervals_have_their_nominal_coverage():
    """About 95% of the intervals of 200 sets of 30 scenes, with ten cases each at 0.7, hold 0.7."""
    rng = np.random.default_rng(0)
    held = 0
    for number in range(200):
        scenes = [{"x": Tally(int(k), 10, 10)} for k in rng.binomial(10, 0.7, 30)]
        share = measure(scenes, lambda name: name == "x", seed=number)
        held += share.low <= 0.7 <= share.high
    assert 0.90 <= held / 200 <= 0.98


def test_what_shots_show_of_everything_told_is_not_counted_as_the_environment():
    scene = {"obeys/sky": Tally(2, 2, 2), "obeys/1.hat": Tally(0, 2, 2), "obeys/3": Tally(1, 2, 2)}
    shares = summarize([scene])
    assert (shares["environment obeys"].value, shares["environment obeys"].count) == (1.0, 2)
    assert (shares["characters obey"].value, shares["characters obey"].count) == (0.0, 2)
    assert shares["obeys/3"].value == 0.5


def test_the_columns_of_the_rows_that_ship_are_those_of_their_counts():
    kept = [path for path in EXAMPLES.rglob("*.jsonl") if path.with_suffix(".json").exists()]
    assert len(kept) > 40
    for path in kept:
        row = json.loads(path.with_suffix(".json").read_text())
        scenes = read_tallies(path)[: row["scenes"]]
        shares = read_shares(path.with_suffix(".json"))
        for column in COLUMNS.keys() & shares.keys():
            assert shares[column] == measure(scenes, COLUMNS[column]), (path, column)


def test_a_table_has_a_row_for_each_mode_and_a_column_for_each_measure():
    shares = summarize([{"agrees/sky": Tally(1, 2, 2), "agrees/sky/1": Tally(1, 2, 2)}])
    text = to_markdown({"joint": shares}).splitlines()
    assert text == [
        "| | environment agrees |",
        "|---|---|",
        "| joint | 0.50 (0.50 to 0.50) |",
    ]
    empty = summarize([{"cut": Tally(1, 2, 2)}])
    text = to_markdown({"joint": shares, "causal": empty}).splitlines()
    assert text[0] == "| | environment agrees | cuts |"
    assert text[3] == "| causal | - | 0.50 (0.50 to 0.50) |"
    del empty["environment agrees"]  # results of an older version lack some columns
    assert to_markdown({"joint": shares, "causal": empty}).splitlines() == text
