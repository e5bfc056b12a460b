"""Tests annotated footage: a good file in full, and each way in which a file is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from lct_jax.data.scene_file import (
    AnnotatedScene,
    Film,
    FrameRange,
    check_ranges,
    load_scene_file,
)
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

GOOD = {
    "format": "lct_jax.scenes/1",
    "film": {"file": "f.mp4", "title": "F", "credit": "By F", "licence": "CC BY 3.0", "fps": 12},
    "cast": {"1": "A man.", "2": "A dog."},
    "scenes": [
        {
            "id": "quay",
            "split": "train",
            "characters": ["1"],
            "environment": "A quay.",
            "story": "Character 1 leaves.",
            "shots": [
                {"frames": [0, 10], "cut": True, "prompt": "Character 1 waits."},
                {"frames": [10, 31], "cut": False, "prompt": "Rain."},
            ],
        },
        {
            "id": "road",
            "split": "held_out",
            "characters": [],
            "environment": "",
            "story": "",
            "shots": [{"frames": [40, 50], "prompt": "A road."}],
        },
    ],
}


def _load(folder: Path, content: object):
    path = folder / "scenes.json"
    path.write_text(json.dumps(content))
    return load_scene_file(path)


def test_loads_scenes_as_scripts_with_ranges(tmp_path):
    scene_file = _load(tmp_path, GOOD)
    film = Film(str(tmp_path / "f.mp4"), "F", "By F", "CC BY 3.0", 12.0)
    assert scene_file.film == film
    prompt = GlobalPrompt({"1": "A man."}, "A quay.", "Character 1 leaves.")
    shots = (ShotPrompt("Character 1 waits."), ShotPrompt("Rain.", cut=False))
    ranges = (FrameRange(0, 10), FrameRange(10, 31))
    assert scene_file.scenes == (
        AnnotatedScene("quay", "train", Script(prompt, shots), ranges),
        AnnotatedScene(
            "road", "held_out", Script(None, (ShotPrompt("A road."),)), (FrameRange(40, 50),)
        ),
    )
    assert len(ranges[1]) == 21


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("scenes",), [], "scenes: is empty, expected at least one scene"),
        (("scenes", 0, "shots"), [], "scenes[0].shots: is empty, expected at least one shot"),
        (("scenes", 1, "id"), "quay", "scenes[1]: the id 'quay' is taken by an earlier scene"),
        (
            ("scenes", 0, "split"),
            "test",
            "scenes[0].split: found 'test', expected train or held_out",
        ),
        (
            ("scenes", 0, "characters"),
            ["1", "3"],
            "scenes[0].characters[1]: '3' is not in the cast, expected one of 1, 2",
        ),
        (
            ("scenes", 0, "characters"),
            ["1", "1"],
            "scenes[0].characters[1]: '1' is listed twice",
        ),
        (
            ("scenes", 0, "shots", 1, "prompt"),
            "Character 2 barks.",
            "scenes[0].shots[1].prompt: mentions 'Character 2', who is not described "
            "(described: 1)",
        ),
        (
            ("scenes", 0, "shots", 1, "frames"),
            [9, 31],
            "scenes[0].shots[1].frames: found [9, 31], expected a start at or after 10, "
            "where the last shot ends",
        ),
        (
            ("scenes", 0, "shots", 1, "frames"),
            [31, 31],
            "scenes[0].shots[1].frames: found [31, 31], expected 0 <= start < end "
            "(end is the first frame not in it)",
        ),
        (
            ("scenes", 0, "shots", 1, "frames"),
            [31],
            "scenes[0].shots[1].frames: found 1 numbers, expected [start, end]",
        ),
        (
            ("scenes", 1, "shots", 0, "frames"),
            [30, 50],
            "scenes[1]: held_out shares frames with scene 'quay', which is train",
        ),
        (
            ("scenes", 0, "story_line"),
            "",
            "scenes[0]: unknown key 'story_line', did you mean 'story'?",
        ),
        (
            ("scenes", 0, "shots", 1, "frames"),
            [12, 31],
            "scenes[0].shots[1].frames: starts at 12, expected 10, where the last shot ends: cut is false",
        ),
        (
            ("scenes", 0, "characters"),
            {"1": "A man.", "2": ""},
            "scenes[0].characters.2: is empty",
        ),
        (
            ("scenes", 0, "characters"),
            {"as": 1},
            "scenes[0].characters.as: found 1, expected text",
        ),
        (
            ("scenes", 0, "characters"),
            "1",
            "scenes[0].characters: found '1', expected a list [...]",
        ),
        (
            ("scenes", 0, "shots", 0, "frames"),
            [-1, 10],
            "scenes[0].shots[0].frames: found [-1, 10], expected 0 <= start < end "
            "(end is the first frame not in it)",
        ),
        (
            ("scenes", 0, "shots", 0, "frames"),
            [0, 9.5],
            "scenes[0].shots[0].frames[1]: found 9.5, expected a whole number",
        ),
        (("film", "fps"), "12", "film.fps: found '12', expected a number"),
        (("film", "fps"), float("inf"), "film.fps: found inf, expected a finite number"),
        (("film", "fps"), 0, "film.fps: found 0.0, expected a number above 0"),
        (("film", "credit"), "", "film.credit: is empty"),
    ],
)
def test_refuses_with_file_and_field(tmp_path, place, value, expected):
    content = copy.deepcopy(GOOD)
    target = content
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    with pytest.raises(InputError) as caught:
        _load(tmp_path, content)
    assert str(caught.value) == f"{tmp_path / 'scenes.json'}: {expected}"


def test_names_the_line_of_the_field_where_a_file_has_several(tmp_path):
    content = copy.deepcopy(GOOD)
    content["scenes"][1]["split"] = "test"
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps(content, indent=1))
    line = 1 + path.read_text().split('"test"')[0].count("\n")
    with pytest.raises(InputError) as caught:
        load_scene_file(path)
    assert (
        str(caught.value)
        == f"{path}: line {line}: scenes[1].split: found 'test', expected train or held_out"
    )


def test_a_key_for_editors_is_passed_over(tmp_path):
    with_key = {"$schema": "scenes.schema.json"} | GOOD
    assert _load(tmp_path, with_key) == _load(tmp_path, GOOD)


def test_scenes_of_one_split_may_share_frames(tmp_path):
    content = copy.deepcopy(GOOD)
    content["scenes"][1] |= {"split": "train", "shots": [{"frames": [30, 50], "prompt": "A road."}]}
    assert _load(tmp_path, content).scenes[1].ranges == (FrameRange(30, 50),)


def test_refuses_a_cut_past_the_end_of_the_film(tmp_path):
    scene_file = _load(tmp_path, GOOD)
    check_ranges(scene_file, frame_count=50)
    with pytest.raises(InputError) as caught:
        check_ranges(scene_file, frame_count=49)
    film = tmp_path / "f.mp4"
    expected = f"{film}: scene 'road': shots[0] ends at frame 50, but the film has 49 frames"
    assert str(caught.value) == expected


def test_a_scene_may_describe_its_own_characters(tmp_path):
    content = copy.deepcopy(GOOD)
    content["cast"] = {}
    content["scenes"][0]["characters"] = {"1": "A woman."}
    scene = _load(tmp_path, content).scenes[0]
    assert scene.script.prompt.characters == {"1": "A woman."}
    content["scenes"][0]["characters"] = {"a b": "A woman."}
    with pytest.raises(
        InputError, match=r"scenes\[0\].characters: ID 'a b' is not made of letters"
    ):
        _load(tmp_path, content)


def test_credit_line_of_a_film_is_one_line_or_empty(tmp_path):
    assert _load(tmp_path, GOOD).film.credit_line == "F By F, CC BY 3.0"
    content = copy.deepcopy(GOOD)
    content["film"]["credit"] = "unknown"
    assert _load(tmp_path, content).film.credit_line == ""
