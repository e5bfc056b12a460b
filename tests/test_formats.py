"""Tests the layouts of other projects: what is read of them, what is written, and what is named as without a place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lct_jax.directing.formats import (
    read_holocine,
    read_shots,
    read_story,
    write_holocine,
    write_story,
)
from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.save_script import save_script
from lct_jax.directing.script import Script, load_script
from lct_jax.errors import InputError

CAST = {"1": "A baker in a white apron.", "2": "A girl with a blue scarf."}
SCRIPT = Script(
    GlobalPrompt(CAST, "A bakery before dawn.", "Character 1 feeds Character 2."),
    (
        ShotPrompt("Character 1 opens the oven.", frames=37, place="oven"),
        ShotPrompt("Character 1 turns to Character 2.", cut=False, frames=41, place="oven"),
        ShotPrompt("Character 2 eats a roll.", frames=21, place="counter"),
    ),
)
TEXTS = [shot.text for shot in SCRIPT.shots]
HOLOCINE = {
    "prompt": "[global caption] [character1] is a baker in a white apron. His arms are floury. "
    "The light is low. A girl, [character2], waits with a blue scarf. This scene contains 3 shots. "
    "[per shot caption] [character1] opens the oven. [shot cut] [character1] turns to [character2]. "
    "[shot cut] [character2] eats a roll.",
    "num_frames": 97,
    "shot_cut_frames": [37, 77],
}


def texts_of(script: Script) -> list[str]:
    return [shot.text for shot in script.shots]


def lengths_of(script: Script) -> list[int | None]:
    return [shot.frames for shot in script.shots]


# ---- HoloCine --------------------------------------------------------------------------------------


def test_a_prompt_of_holocine_is_taken_apart():
    script, notes = read_holocine({**HOLOCINE, "seed": 4, "fps": 15})
    assert script.prompt == GlobalPrompt(
        {
            "1": "A baker in a white apron. His arms are floury.",
            "2": "A girl, Character 2, waits with a blue scarf.",
        },
        "The light is low.",
        "",
    )
    assert texts_of(script) == TEXTS
    assert lengths_of(script) == [37, 41, 21]  # 37, 40 and 20 frames of one video
    assert script.sampler == {"seed": 4}
    assert notes == (
        "fps: has no place in a script",
        "shot_cut_frames: shots of 37, 40, 20 frames last 37, 41, 21, which are 4n + 1 here",
    )


def test_a_prompt_of_holocine_alone_and_captions_apart_are_read():
    script, notes = read_holocine(HOLOCINE["prompt"])
    assert (texts_of(script), lengths_of(script), notes) == (TEXTS, [None] * 3, ())
    apart = {"global_caption": "A bakery.", "shot_captions": ["A.", "[character1] waves."]}
    script, notes = read_holocine({**apart, "num_frames": 41})
    assert lengths_of(script) == [21, 21]
    assert script.prompt == GlobalPrompt({"1": "Somebody."}, "A bakery.", "")
    assert notes[0] == "Character 1: is described nowhere"


def test_a_script_is_written_as_holocine_reads_it():
    files, notes = write_holocine(SCRIPT, "bakery")
    assert json.loads(files["bakery.json"]) == {
        "prompt": "[global caption] [character1] is a baker in a white apron. "
        "[character2] is a girl with a blue scarf. A bakery before dawn. "
        "[character1] feeds [character2]. This scene contains 3 shots. [per shot caption] "
        "[character1] opens the oven. [shot cut] [character1] turns to [character2]. "
        "[shot cut] [character2] eats a roll.",
        "num_frames": 97,
        "shot_cut_frames": [37, 77],
    }
    assert notes == (
        "place: of shots 1, 2, 3: has no place in HoloCine",
        "cut: of shots 2: has no place in HoloCine",
    )
    again, _ = read_holocine(json.loads(files["bakery.json"]))
    assert (again.prompt.characters, texts_of(again), lengths_of(again)) == (
        CAST,
        TEXTS,
        [37, 41, 21],
    )


# ---- stories ---------------------------------------------------------------------------------------

STORYMEM: dict[str, Any] = {
    "story_name": "Bread",
    "story_overview": "A baker feeds a girl.",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": ["A baker opens the oven.", "He turns."],
            "first_frame_prompt": ["An oven.", "A face."],
            "cut": [True, "False"],
        },
        {"scene_num": 2, "video_prompts": ["A girl eats."], "cut": [True]},
    ],
}
ENTITYBENCH: dict[str, Any] = {
    "story_name": "e1",
    "story_overview": "Ana Lima visits Ana at The Mill.",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": ["Ana: A tall woman.\n\nAna waits in The Mill.", "x"],
            "action_descriptions": ["Ana waits in The Mill.", "Ana Lima nods to Ana's dog."],
            "cut": [True, False],
        }
    ],
    "entity_descriptions": {
        "Character 1": {"name": "Ana", "label": "Character 1", "description": "A tall woman."},
        "Gen_Lima": {"name": "Ana Lima", "label": "Gen_Lima", "description": "An old woman."},
        "Location 1": {"name": "The Mill", "label": "Location 1", "description": "A stone mill"},
        "Object 1": {"name": "the sack", "label": "Object 1", "description": "A sack."},
    },
    "entity_schedule": {
        "1:1": {"characters": ["Ana", "Ana Lima"], "places": ["The Mill"], "objects": []},
        "1:2": {"characters": ["Ana"], "places": [], "objects": ["the sack"]},
    },
    "_num_scenes": 1,
}


# ---- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [read_holocine(HOLOCINE).script, read_story(STORYMEM).script, read_story(ENTITYBENCH).script],
    ids=["holocine", "storymem", "entitybench"],
)
def test_what_is_read_is_a_script_that_loads(tmp_path: Path, script):
    save_script(tmp_path / "a.yaml", script)
    assert load_script(tmp_path / "a.yaml") == script


def test_what_an_export_loses_is_named_and_texts_end_before_others_begin():
    shots = (ShotPrompt("Character 1 waits.", frames=9), ShotPrompt("\u96e8."))
    cast = {"1": "A baker", "2": "Nobody names her."}
    script = Script(GlobalPrompt(cast, "A quay", ""), shots)
    files, notes = write_holocine(script, "x")
    assert (
        "[character1] is a baker. [character2] is nobody names her. A quay. This" in files["x.json"]
    )
    assert "\u96e8" in files["x.json"]
    assert notes == ("frames: of shots 1: has no place in HoloCine",)
    assert write_story(script, "x", layout="storymem").notes == (
        "frames: of shots 1: has no place in storymem",
        "characters: Character 2, whom no shot names: has no place in storymem",
    )


def test_conditions_are_named_where_they_have_no_place():
    shots = (ShotPrompt("A face.", given=Condition("a.png")), ShotPrompt("A gull.", seed=3))
    script = Script(None, shots, sampler={"guidance": 4.0})
    assert write_story(script, "x", layout="storymem").notes == (
        "given: of shots 1: has no place in storymem",
        "seed: of shots 2: has no place in storymem",
        "sampler.guidance: has no place in storymem",
    )


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (read_holocine, "A cat.", "prompt: found 'A cat.', expected [global caption]"),
        (
            read_holocine,
            {**HOLOCINE, "shot_cut_frames": [37]},
            "shot_cut_frames: found [37] for 3 shots of 97 frames, expected 2 that rise",
        ),
        (
            read_shots,
            {"global_caption": "x", "shot2": "A."},
            "found shots [2], expected shot0 or shot1",
        ),
        (read_shots, {"shot1": "A.", "shot3": "B."}, "found shots [1, 3]"),
        (read_story, {"scenes": []}, "scenes: found [], expected a list of scenes"),
        (
            read_story,
            {"scenes": [{"video_prompts": ["A.", "B."], "cut": [True]}]},
            "scenes[0].cut: found [True], expected one for each of the prompts",
        ),
        (
            read_holocine,
            {**HOLOCINE, "num_frames": "97"},
            "arguments: num_frames: found '97', expected a whole number",
        ),
        (read_holocine, {**HOLOCINE, "shot_cut_frames": 5}, "shot_cut_frames: found 5, expected"),
        (read_holocine, {**HOLOCINE, "seed": "abc"}, "arguments: seed: found 'abc', expected a wh"),
        (read_shots, {"global_caption": 3, "shot1": "A."}, "captions: global_caption: found 3, ex"),
        (
            read_story,
            {**STORYMEM, "story_overview": ["A."]},
            "story: story_overview: found a list [...], expected text",
        ),
        (
            read_story,
            {"scenes": [{"video_prompts": ["A."], "cut": ["maybe"]}]},
            "scenes[0]: cut[0]: found 'maybe', expected true or false",
        ),
        (
            read_story,
            {**STORYMEM, "entity_descriptions": {"Character 1": {"label": "x"}}},
            "story: entity_descriptions.Character 1: key 'name' is missing",
        ),
        (
            read_story,
            {**STORYMEM, "entity_descriptions": ["Ana"]},
            "story: entity_descriptions: found a list [...], expected an object {...}",
        ),
        (
            read_story,
            {**STORYMEM, "entity_schedule": {"1:1": {"places": "the mill"}}},
            "story: entity_schedule.1:1.places: found 'the mill', expected a list [...]",
        ),
        (
            read_story,
            {
                **STORYMEM,
                "entity_descriptions": {"Gen_A b": {"name": "A"}, "Gen_A_b": {"name": "B"}},
            },
            "'Gen_A b', 'Gen_A_b' are not all different as names and as IDs",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_has_not_the_layout_is_one_line(read, value, said):
    with pytest.raises(InputError) as caught:
        read(value)
    assert said in str(caught.value)
