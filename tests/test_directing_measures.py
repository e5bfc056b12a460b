"""What is measured of directing on puppet scenes: drawn pixels are judged, and parts say what they ask to sample."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_film import ROOT

from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.evaluation.directing import (
    choose_parts,
    find_scenes,
    summarize,
    to_markdown,
    write_table,
)
from lct_jax.evaluation.directing_cases import judge_cast, judge_continued, judge_seams
from lct_jax.evaluation.directing_parts import CAST_TIME, DRAWN, PARTS
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import (
    Character,
    Drawing,
    Environment,
    PuppetScene,
    PuppetShot,
    draw_scene,
)

PLACE = Environment("orange", "green", "right", "tower")
ELSEWHERE = Environment("blue", "snowy", "left", "tree")
WALK = PuppetShot("wide", (1,), "walks right", 9, True, 0.4, 0.0)
STAND = PuppetShot("wide", (1,), "stands", 9, False, 0.7, 0.0)


def make_scene(place: Environment = PLACE, *, withheld: tuple[str, ...] = ()) -> PuppetScene:
    who = (Character("red", "circle", "none"),)
    return PuppetScene("x", (0, 0), (32, 32), place, who, (WALK, STAND), frozenset(withheld))


def render(scene: PuppetScene) -> list[np.ndarray]:
    return [render_shot(scene, shot) for shot in scene.shots]


def test_a_shot_that_goes_on_as_drawn_is_right_and_one_that_does_not_is_told_by_what_is_wrong():
    drawn = render(make_scene())[0]
    right = judge_continued(drawn, drawn)
    assert {name: set(cases) for name, cases in right.items()} == {
        "background": {1.0},
        "background in place": {1.0},
        "characters": {1.0},
        "characters in place": {1.0},
        "shapes": {1.0},
    }
    # Eight frames behind the first; sky, ground, sun and landmark of each, and the places of the last two.
    assert [len(right[name]) for name in right] == [32, 16, 8, 8, 8]
    still = np.broadcast_to(drawn[:1], drawn.shape)
    stays = judge_continued(drawn, still)
    # A walk of 0.3 widths in eight steps is away by more than 0.1 from the third step on.
    assert stays["characters in place"] == [1.0, 1.0, *[0.0] * 6]
    assert sum(stays["background in place"]) == 16
    elsewhere = judge_continued(drawn, render(make_scene(ELSEWHERE))[0])
    assert sum(elsewhere["background"]) == 0
    assert sum(elsewhere["background in place"]) == 0
    assert sum(elsewhere["characters in place"]) == 8


def test_a_seam_is_held_to_the_steps_of_its_own_shots():
    walk, stand = render(make_scene())
    scene = make_scene()
    smooth = judge_seams(scene, [walk, stand], [0, 0])
    assert (smooth["no jump"], smooth["seam to largest step"]) == ([1.0], [0.0])
    assert smooth["background kept"] == [1.0] * 4
    assert (smooth["character in place"], smooth["motion"]) == ([1.0], [1.0])
    # The last five frames of the walk are held in front of the shot, of which the film has the rest.
    overlapped = judge_seams(scene, [walk, np.concatenate([walk[-5:], stand[:4]])], [0, 5])
    assert overlapped["no jump"] == [1.0]
    jump = judge_seams(scene, [walk, render(make_scene(ELSEWHERE))[1]], [0, 0])
    assert jump["no jump"] == [0.0]
    assert jump["seam to largest step"][0] > 5
    assert (jump["background kept"], jump["character in place"]) == ([0.0] * 4, [1.0])
    back = judge_seams(scene, [walk, walk], [0, 0])
    assert (back["character in place"], back["motion"]) == ([0.0], [0.0])


def test_a_cast_is_known_by_what_no_prompt_says_and_by_where_it_is():
    scene = make_scene(withheld=("1.colour", "1.shape"))
    found = judge_cast(scene, render(scene), behind=ELSEWHERE, told=True)
    assert found == {
        "colours": [1.0, 1.0],
        "shapes": [1.0, 1.0],
        "place as told": [1.0] * 8,
        "place of the pictures": [0.0] * 8,
    }
    dragged = judge_cast(scene, render(make_scene(ELSEWHERE)), behind=ELSEWHERE, told=True)
    assert (dragged["place as told"], dragged["place of the pictures"]) == ([0.0] * 8, [1.0] * 8)
    untold = judge_cast(scene, render(scene), behind=ELSEWHERE, told=False)
    assert "place as told" not in untold


class Asked(NamedTuple):
    """What a part asked to sample."""

    script: Script
    in_turn: bool
    given: Mapping[int, np.ndarray]
    fields: dict[str, Any]


class DrawnShot(NamedTuple):
    number: int
    frames: np.ndarray
    latent: np.ndarray


class Drawer:
    """Stands for a model that samples what is drawn, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def sample(
        self,
        scene: PuppetScene,
        script: Script,
        *,
        in_turn: bool = False,
        given: Mapping[int, np.ndarray] | None = None,
        **fields: Any,
    ) -> list[DrawnShot]:
        self.asked.append(Asked(script, in_turn, given or {}, fields))
        shots = enumerate(render(scene))
        latent = np.arange(4, dtype=np.float32)
        return [DrawnShot(n, frames, latent) for n, frames in shots if n not in (given or {})]

    def through_codec(self, frames: np.ndarray) -> np.ndarray:
        return frames


def measure(part: str) -> tuple[dict[str, Any], list[Asked]]:
    drawer, (scene,) = Drawer(), islice(find_scenes(PARTS[part]), 1)
    return PARTS[part].measure(drawer, scene), drawer.asked


def test_a_first_frame_is_held_in_the_first_shot_alone():
    cases, (plain, held) = measure("first_frame")
    assert list(cases) == [DRAWN, "no picture", "first frame held"]
    assert all(set(found) == {1.0} for way in cases.values() for found in way.values())
    assert held.script.shots[0].first.file.endswith("first.png")
    assert held.script.shots[1:] == plain.script.shots[1:]
    assert plain.script.shots[0].first is None


def test_extensions_are_takes_without_a_cut_in_six_ways():
    cases, asked = measure("extension")
    assert len(cases) == 8
    overlaps = [[shot.overlap for shot in one.script.shots] for one in asked]
    assert overlaps == [[0] * 4, [0] * 4, [0, 1, 1, 1], [0, 5, 5, 5], [0, 1, 1, 1], [0, 5, 5, 5]]
    assert not any(shot.cut for one in asked for shot in one.script.shots[1:])
    assert [one.fields for one in asked] == [{"window": 1}, *[{}] * 5]
    assert [sorted(one.given) for one in asked] == [[], [], [], [], [0], [0]]
    assert all(one.in_turn for one in asked)
    assert cases["without a cut"] == cases[DRAWN]


def test_a_pool_is_sampled_before_twenty_shots_that_see_three_each():
    cases, asked = measure("pool")
    assert list(cases) == [DRAWN, "recent", "relevant", "relevant, from a pool"]
    assert [one.fields["history"] for one in asked] == ["recent", "relevant", "relevant"]
    assert {(len(one.script.shots), one.fields["history_shots"]) for one in asked} == {(20, 3)}
    keys = [[n for n, shot in enumerate(one.script.shots) if shot.key] for one in asked]
    assert keys[:2] == [[], []]
    assert len(keys[2]) == 2 and keys[2][0] == 0
    assert all(set(cases[way]["returning characters agree"]) <= {1.0} for way in cases)


def test_pictures_of_the_cast_have_another_background_or_none():
    cases, asked = measure("cast")
    assert len(cases) == 9 and len(asked) == 8
    assert [len(one.script.pictures) for one in asked] == [0, 2, 2, 2, 2, 0, 2, 2]
    assert all(set(cases[way]["place of the pictures"]) <= {0.0} for way in cases)
    assert ["place as told" in cases[way] for way in cases] == [True] * 6 + [False] * 3
    plain, told = (asked[n].script.pictures[0].text for n in (1, 2))
    assert told.startswith(f"{plain} ") and " sky, " in told
    assert asked[5].script.prompt.environment == ""
    assert [one.script.pictures[0].condition.time for one in asked if one.script.pictures] == [
        *(None, None, None, CAST_TIME),
        *(None, None),
    ]


def test_solvers_are_compared_at_equal_evaluations_with_many_small_steps():
    cases, asked = measure("solvers")
    assert [one.fields for one in asked] == [
        {"steps": 128},
        *({"solver": s, "steps": n} for n in (16, 8, 4) for s in ("euler", "heun")),
    ]
    assert "distance" not in cases["Euler, 128 evaluations"]
    assert cases["Heun, 8 evaluations"]["distance"] == [0.0] * 4


def test_means_are_over_all_cases_with_an_interval_over_scenes():
    scenes = [
        {"a": {"kept": [1.0, 1.0]}, "b": {"kept": [0.0]}},
        {"a": {"kept": [0.0, 0.0], "far": [2.5]}, "b": {}},
    ]
    found = summarize(scenes)
    assert (found["a"]["kept"].value, found["a"]["kept"].count) == (0.5, 4)
    assert (found["a"]["kept"].low, found["a"]["kept"].high) == (0.0, 1.0)
    assert to_markdown("Shots", 2, found) == (
        "| Shots, 2 scenes | kept | far |\n|---|---|---|\n"
        "| a | 0.50 (0.00 to 1.00) | 2.50 (2.50 to 2.50) |\n| b | 0.00 (0.00 to 0.00) | - |\n"
    )


def test_takes_of_the_extension_are_those_drawn_without_a_cut():
    part = PARTS["extension"]
    numbers = [scene.seed[1] for scene in islice(find_scenes(part), 3)]
    drawn = [draw_scene(1_000_003, number, part.drawing) for number in range(numbers[-1] + 1)]
    assert [n for n, scene in enumerate(drawn) if part.wanted(scene)] == numbers
    assert dataclasses.replace(part.drawing, withhold=0.5) == part.drawing == Drawing(
        shots=(4, 4), sizes=((32, 32),), frames=(9,), cast=(1, 1)
    )  # fmt: skip


def test_an_unknown_part_is_refused():
    assert choose_parts("all") == list(PARTS)
    with pytest.raises(InputError, match="--parts: found 'cats', expected some of first_frame"):
        choose_parts("cats")


def test_tables_in_the_document_are_those_of_the_results(tmp_path):
    results = sorted((ROOT / "examples/puppets/directing").glob("puppets.*.json"))
    for path in results:
        shutil.copy(path, tmp_path)
    tables = write_table(tmp_path).split("\n\n")
    assert len(tables) == len(PARTS)
    document = (ROOT / "docs/directing.md").read_text()
    for table in tables:
        assert table.strip() in document
