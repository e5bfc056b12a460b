"""Tests what is measured by the number of a shot, and the tables of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.rollouts import PANELS, measure_panel, read_rollouts, to_markdown
from lct_jax.errors import InputError
from lct_jax.evaluation.puppet_measures import Tally
from lct_jax.evaluation.puppets import lengthen
from lct_jax.evaluation.rollout_measures import count_pure, judge_by_number, measure_numbers
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import OF_ENVIRONMENT, draw_scene

KEPT, STATED, PURE, READ = PANELS


def judge(withhold: float, *, from_fifth_on: str = "") -> dict[str, Tally]:
    """Returns the tallies of a rendered scene of eight shots, which may have another sky from shot 5 on."""
    scene = draw_scene(11, 0, dataclasses.replace(lengthen(8), withhold=withhold))
    shown = [scene] * 8
    if from_fifth_on:
        place = dataclasses.replace(scene.environment, sky=from_fifth_on)
        shown[4:] = [dataclasses.replace(scene, environment=place)] * 4
    frames = [render_shot(one, shot) for one, shot in zip(shown, scene.shots, strict=True)]
    return judge_by_number(scene, frames, [read_shot(shot) for shot in frames])


def test_shots_are_compared_with_the_first_one_that_shows_the_same():
    tallies = judge(1.0)
    # Its landmark is hidden in the first two shots; sky, ground and sun are seen in all.
    assert tallies["environment kept/2"] == Tally(3, 3, 3)
    assert tallies["environment kept/6"] == Tally(4, 4, 4)
    assert "environment kept/1" not in tallies
    # Character 1 is alone in shots 1, 7 and 8, and away between.
    scene = draw_scene(11, 0, lengthen(8))
    assert [n for n, shot in enumerate(scene.shots, start=1) if shot.subjects == (1,)] == [1, 7, 8]
    assert tallies["characters kept/7"].asked == 3
    assert not any(name.startswith("obeys/") for name in tallies)


def test_a_scene_that_drifts_is_seen_to():
    own = draw_scene(11, 0, lengthen(8)).environment.sky
    other = next(sky for sky in OF_ENVIRONMENT["sky"] if sky != own)
    tallies = judge(1.0, from_fifth_on=other)
    assert tallies["environment kept/4"].right == tallies["environment kept/4"].readable
    assert tallies["environment kept/5"].right == tallies["environment kept/5"].readable - 1
    stated = judge(0.0, from_fifth_on=other)
    assert stated["obeys/4"].right == stated["obeys/4"].readable
    assert stated["obeys/5"].right == stated["obeys/5"].readable - 1


def test_pixels_of_the_palette_are_pure_and_mixtures_are_not():
    frames = np.array([[[220, 25, 35], [85, 170, 80], [152, 98, 58]]], np.uint8)
    assert count_pure(frames) == 2  # red, green, and the mean of both
    tally = judge(1.0)["pure/1"]
    assert tally.asked == 5 * 32 * 32
    assert 0.9 < tally.right / tally.asked < 1.0  # edges are mixtures


def test_shares_join_the_shots_of_a_group():
    scenes = [{"obeys/2": Tally(1, 2, 4), "who/3": Tally(3, 3, 3), "obeys/6": Tally(0, 9, 9)}]
    assert measure_numbers(scenes, ("obeys", "who"), 2, 5).value == pytest.approx(4 / 5)
    assert measure_panel(scenes, STATED, (6, 9)).value == 0.0
    assert measure_panel(scenes, READ, (2, 5)).value == pytest.approx(2 / 4)


def test_tables_have_a_line_for_each_way_and_a_column_for_each_group(tmp_path):
    line = json.dumps({"pure/1": [1, 2, 2], "pure/20": [2, 2, 2]})
    for name in ("a.autoregressive", "b.causal", "b.unknown"):
        (tmp_path / f"{name}.jsonl").write_text(f"{{}}\n{line}\n{line}\n")
    rollouts = read_rollouts(tmp_path)
    assert list(rollouts) == ["autoregressive", "causal"]
    lines = to_markdown(rollouts, PURE).splitlines()
    assert lines[0].endswith("| shot 1 | 2 to 5 | 6 to 9 | 10 to 14 | 15 to 20 |")
    assert lines[3] == (
        "| causal, cache at 0.2 | 0.50 (0.50 to 0.50) | - | - | - | 1.00 (1.00 to 1.00) |"
    )


def test_a_folder_without_rollouts_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"--results: {tmp_path}: found no NAME.ROW.jsonl"):
        read_rollouts(tmp_path)
