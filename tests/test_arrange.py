"""Scripts as other systems take them: pictures of the cast, prompts that stand alone, key frames, panels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lct_jax.directing.arrange import (
    add_key_frames,
    add_panels,
    add_references,
    caption_panels,
    group_panels,
    tell_apart,
)
from lct_jax.directing.prompts import Begin, Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.save_script import save_script
from lct_jax.directing.script import CastPicture, Script, load_script
from lct_jax.errors import InputError

PROMPT = GlobalPrompt({"1": "A baker.", "2": "A dog."}, "A quay.", "A day.")


def make_script(*texts: str, **fields: object) -> Script:
    return Script(PROMPT, tuple(ShotPrompt(text, **fields) for text in texts))


def test_every_character_and_the_place_get_a_picture_that_is_sampled_first():
    script = add_references(make_script("Character 1 waits.", "Character 2 runs.", "Rain."))
    assert [shot.text for shot in script.shots[3:]] == [
        "Close-up: Character 1 stands still.",
        "Close-up: Character 2 stands still.",
        "Wide shot: nobody.",
    ]
    assert [script.picture_of(number) for number in range(6)] == ["", "", "", "1", "2", "the place"]
    assert all((shot.frames, shot.key, shot.shown) == (1, True, False) for shot in script.shots[3:])
    assert [shot.place for shot in script.shots[:3]] == ["the place"] * 3
    assert all(shot.history == () for shot in script.shots[:3])


def test_a_place_that_is_named_and_a_character_with_a_picture_of_its_own_keep_theirs():
    script = make_script("Character 1 waits.", place="market")
    picture = CastPicture(Condition("baker.png"), "The baker.", character="1")
    arranged = add_references(dataclasses.replace(script, pictures=(picture,)))
    assert [shot.text for shot in arranged.shots[1:]] == ["Wide shot: market, nobody."]
    assert [shot.place for shot in arranged.shots[:1]] == ["market"]


def test_a_prompt_apart_describes_whom_it_names_and_the_place_and_nobody_else():
    script = tell_apart(make_script("Character 2 runs.", "Rain."))
    assert [shot.text for shot in script.shots] == [
        "Character 2: A dog. Environment: A quay. Character 2 runs.",
        "Environment: A quay. Rain.",
    ]
    assert (script.prompt, script.apart) == (None, True)
    assert [shot.refers for shot in script.shots] == [("2",), ()]


def test_a_caption_of_a_shot_alone_stands_as_it_was_written_and_is_kept_in_a_file(tmp_path: Path):
    script = make_script("Character 1 waits.", alone="A baker waits on a quay.")
    save_script(tmp_path / "script.yaml", script)
    (shot,) = tell_apart(load_script(tmp_path / "script.yaml")).shots
    assert (shot.text, shot.cut, shot.refers) == ("A baker waits on a quay.", False, ("1",))


def test_a_shot_begins_with_a_picture_of_its_own_prompt_unless_it_has_a_beginning():
    script = make_script("Rain.", "Wind.", "Snow.")
    first = dataclasses.replace(script.shots[1], first=Condition("wind.png"))
    script = dataclasses.replace(script, shots=(script.shots[0], first, script.shots[2]))
    arranged = add_key_frames(script)
    assert [shot.begins for shot in arranged.shots] == [Begin(3), None, Begin(4), None, None]
    assert [shot.text for shot in arranged.shots[3:]] == [
        "Environment: A quay. Rain.",
        "Environment: A quay. Snow.",
    ]
    assert [shot.frames for shot in arranged.shots] == [None, None, None, 1, 1]


def test_three_shots_share_a_picture_and_the_last_group_takes_some_before_it():
    assert group_panels(0) == []
    assert group_panels(1) == [(0, 0, 0)]
    assert group_panels(2) == [(0, 1, 1)]
    assert group_panels(3) == [(0, 1, 2)]
    assert group_panels(8) == [(0, 1, 2), (3, 4, 5), (5, 6, 7)]


def test_panels_have_one_caption_with_a_marker_a_scene_and_each_shot_has_its_own():
    texts = ["Character 1 waits.", "Rain.", "Wind.", "Snow."]
    arranged = add_panels(make_script(*texts))
    shared = "Character 1: A baker. Character 2: A dog. Environment: A quay."
    assert [shot.text for shot in arranged.shots[4:]] == [
        f"{shared} [SCENE-1] Character 1 waits. [SCENE-2] Rain. [SCENE-3] Wind.",
        f"{shared} [SCENE-1] Rain. [SCENE-2] Wind. [SCENE-3] Snow.",
    ]
    begins = [Begin(4, 0, 3), Begin(4, 1, 3), Begin(4, 2, 3), Begin(5, 2, 3)]
    assert [shot.begins for shot in arranged.shots[:4]] == begins
    assert [shot.panels for shot in arranged.shots] == [1, 1, 1, 1, 3, 3]
    assert caption_panels("", ["Rain."]) == "[SCENE-1] Rain."


def test_shots_of_different_shapes_are_refused_in_one_picture():
    script = make_script("Rain.", "Wind.", "Snow.")
    wide = dataclasses.replace(script.shots[2], aspect="16:9")
    with pytest.raises(InputError, match=r"shots\[2\]: found another shape than that of shot 1, "):
        add_panels(dataclasses.replace(script, shots=(*script.shots[:2], wide)))
