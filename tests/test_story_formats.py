"""Tests the stories of StoryMem and EntityBench: scenes with prompts, cuts, and who and what is in every shot."""

from __future__ import annotations

import json

from test_formats import CAST, ENTITYBENCH, SCRIPT, STORYMEM

from lct_jax.directing.formats import read_story, write_story
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt


def test_a_story_of_storymem_is_read():
    script, notes = read_story(STORYMEM)
    assert script.prompt == GlobalPrompt({}, "", "A baker feeds a girl.")
    assert [(shot.text, shot.cut, shot.place) for shot in script.shots] == [
        ("A baker opens the oven.", True, "scene 1"),
        ("He turns.", False, "scene 1"),
        ("A girl eats.", True, "scene 2"),
    ]
    assert notes == (
        "story_name: has no place in a script",
        "scenes[].first_frame_prompt: has no place in a script",
    )


def test_names_of_entitybench_become_ids():
    script, notes = read_story(ENTITYBENCH)
    assert script.prompt == GlobalPrompt(
        {"1": "A tall woman.", "Gen_Lima": "An old woman."},
        "The Mill: A stone mill.",
        "Character Gen_Lima visits Character 1 at The Mill.",
    )
    assert script.shots == (
        ShotPrompt("Character 1 waits in The Mill.", place="The Mill", refers=("Gen_Lima",)),
        ShotPrompt("Character Gen_Lima nods to Character 1's dog.", cut=False),
    )
    assert notes == (
        "story_name: has no place in a script",
        "entity_descriptions, entity_schedule: objects (the sack) have no place in a script",
    )


def test_what_a_story_leaves_out_or_writes_in_another_way_is_read():
    story = {
        "story_overview": None,
        "scenes": [{"scene_num": 1, "video_prompts": ["Ana digs.", "Rain."], "cut": [1, "False"]}],
        "entity_descriptions": {"Character 1": {"name": "Ana", "description": None, "age": 3}},
        "entity_schedule": {"1:1": {"characters": ["Ana", "Zoe"], "weather": "dry"}},
    }
    script, notes = read_story(story)
    assert script.prompt == GlobalPrompt({"1": "Somebody."}, "", "")
    assert script.shots == (ShotPrompt("Character 1 digs."), ShotPrompt("Rain.", cut=False))
    assert notes == (
        "entity_descriptions[].age: has no place in a script",
        "entity_schedule[].weather: has no place in a script",
        "entity_schedule: 'Zoe' is in no entity_descriptions",
        "Character 1: is described nowhere",
    )


def test_a_script_is_written_as_a_story():
    files, notes = write_story(SCRIPT, "bread", layout="storymem")
    story = json.loads(files["bread.json"])
    assert [(scene["scene_num"], scene["cut"]) for scene in story["scenes"]] == [
        (1, [True, False]),
        (2, [True]),
    ]
    assert story["scenes"][1]["video_prompts"] == [
        "Character 2: A girl with a blue scarf.\nEnvironment: A bakery before dawn.\n\n"
        "Character 2 eats a roll."
    ]
    assert notes == ("frames: of shots 1, 2, 3: has no place in storymem",)


def test_a_script_survives_entitybench():
    files, _ = write_story(SCRIPT, "bread", layout="entitybench")
    story = json.loads(files["bread.json"])
    assert story["entity_schedule"]["1:2"] == {
        "characters": ["Character 1", "Character 2"],
        "places": ["oven"],
        "objects": [],
    }
    again, _ = read_story(story)
    assert again.prompt.characters == CAST
    assert again.prompt.story == SCRIPT.prompt.story
    shown = lambda script: [(shot.text, shot.cut, shot.place) for shot in script.shots]
    assert shown(again) == shown(SCRIPT)
