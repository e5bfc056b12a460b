"""Tests scripts: the rendered texts, and that each mistake gives one line that names file and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lct_jax.directing.prompts import (
    Condition,
    GlobalPrompt,
    ShotPrompt,
    find_characters,
    render_global,
    render_shot,
)
from lct_jax.directing.script import load_script
from lct_jax.errors import InputError

EXAMPLES = Path(__file__).parent.parent / "examples" / "scripts"


def _script(**changes: object) -> dict[str, object]:
    shots = [{"prompt": "Character 1 waits."}, {"prompt": "Rain.", "cut": False, "frames": 17}]
    script = {"format": "lct_jax.script/1", "characters": {"1": "A tall man."}, "shots": shots}
    return script | {"environment": "A quay.", "story": "Character 1 leaves."} | changes


def _load(folder: Path, content: object):
    path = folder / "s.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_script(path)


def _refusal(folder: Path, content: object) -> str:
    with pytest.raises(InputError) as caught:
        _load(folder, content)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{folder / 's.json'}: ")
    return message.removeprefix(f"{folder / 's.json'}: ")


def test_renders_parts_in_order_and_leaves_empty_ones_out():
    prompt = GlobalPrompt({"1": "A man.", "B": "A dog."}, "A quay.", "They leave.")
    everything = "Character 1: A man. Character B: A dog. Environment: A quay. Story: They leave."
    assert render_global(prompt) == everything
    assert render_global(prompt, story=False) == everything.removesuffix(" Story: They leave.")
    assert render_global(GlobalPrompt({}, "", "They leave.")) == "Story: They leave."


def test_only_cut_shots_carry_the_tag():
    assert render_shot(ShotPrompt("Rain.")) == "[SHOT CUT] Rain."
    assert render_shot(ShotPrompt("Rain.", cut=False)) == "Rain."


def test_finds_characters_once_in_order():
    text = "Character 2's dog and Character Ana, then Character 2; characters 3, character 4."
    assert find_characters(text) == ("2", "Ana")


def test_loads_every_field(tmp_path):
    (tmp_path / "x.png").write_bytes(b"any")
    shots = [{"prompt": " Rain. ", "given": "x.png"}, {"prompt": "Sun.", "cut": False, "frames": 5}]
    script = _load(tmp_path, _script(shots=shots))
    assert script.prompt == GlobalPrompt({"1": "A tall man."}, "A quay.", "Character 1 leaves.")
    assert script.shots == (
        ShotPrompt("Rain.", cut=True, given=Condition(str(tmp_path / "x.png"))),
        ShotPrompt("Sun.", cut=False, frames=5),
    )


def test_shots_refer_to_shots_characters_and_places(tmp_path):
    (tmp_path / "x.png").write_bytes(b"any")
    shots = [
        {"prompt": "Rain.", "place": "quay", "refers": [3]},
        {"prompt": "Sun.", "refers": [1, "1", "quay"]},
        {"prompt": "Snow.", "given": "x.png"},
    ]
    script = _load(tmp_path, _script(shots=shots))
    assert [shot.refers for shot in script.shots] == [(3,), (1, "1", "quay"), ()]
    assert [shot.place for shot in script.shots] == ["quay", "", ""]


def test_a_script_of_shots_alone_has_no_global_prompt(tmp_path):
    shots = [{"prompt": "Rain."}]
    assert _load(tmp_path, {"format": "lct_jax.script/1", "shots": shots}).prompt is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shots": []}, "shots: is empty, expected at least one shot"),
        ({"shots": {}}, "shots: found an object {...}, expected a list [...]"),
        ({"shots": ["Rain."]}, "shots[0]: found 'Rain.', expected an object {...}"),
        ({"shots": [{"promt": "Rain."}]}, "shots[0]: unknown key 'promt', did you mean 'prompt'?"),
        ({"shots": [{"cut": True}]}, "shots[0]: key 'prompt' is missing"),
        ({"shots": [{"prompt": " "}]}, "shots[0].prompt: is empty"),
        ({"shots": [{"prompt": None}]}, "shots[0].prompt: found null, expected text"),
        (
            {"shots": [{"prompt": "Rain."}, {"prompt": "Character 7 runs."}]},
            "shots[1].prompt: mentions 'Character 7', who is not described (described: 1)",
        ),
        (
            {"shots": [{"prompt": "[Character 1] waves to Character [7]."}]},
            "shots[0].prompt: mentions 'Character 7', who is not described (described: 1)",
        ),
        (
            {"shots": [{"prompt": "Rain.", "height": 32, "width": 10**6}]},
            "shots[0].width: found 1000000, expected a number of at most 8,192",
        ),
        (
            {"story": "Character 7 runs."},
            "story: mentions 'Character 7', who is not described (described: 1)",
        ),
        (
            {"shots": [{"prompt": "[Shot Cut] Rain."}]},
            "shots[0].prompt: found the tag '[Shot Cut]', expected the shot's "
            '"cut": true or false instead',
        ),
        (
            {"shots": [{"prompt": "Rain.", "cut": 1}]},
            "shots[0].cut: found 1, expected true or false",
        ),
        (
            {"shots": [{"prompt": "Rain.", "frames": True}]},
            "shots[0].frames: found True, expected a whole number",
        ),
        (
            {"shots": [{"prompt": "Rain.", "frames": 20}]},
            "shots[0].frames: found 20, expected 4n+1 frames: 17 or 21",
        ),
        (
            {"shots": [{"prompt": "Rain.", "frames": -3}]},
            "shots[0].frames: found -3, expected 4n+1 frames, at least 1",
        ),
        ({"characters": {"1": ""}}, "characters.1: is empty"),
        (
            {"characters": {"the man": "Tall."}},
            "characters: ID 'the man' is not made of letters, digits and _ alone",
        ),
        (
            {"shots": [{"prompt": "Rain."}, {"prompt": "Sun.", "refers": [2]}]},
            "shots[1].refers[0]: found 2, expected an earlier, a given or a key shot, counted from 1",
        ),
        (
            {"shots": [{"prompt": "Rain.", "refers": ["quay"]}]},
            "shots[0].refers[0]: found 'quay', a character or place that no shot has",
        ),
        (
            {"shots": [{"prompt": "Rain.", "refers": [1.5]}]},
            "shots[0].refers[0]: found 1.5, expected a whole number or text",
        ),
        (
            {"shots": [{"prompt": "Rain.", "refers": 1}]},
            "shots[0].refers: found 1, expected a list [...]",
        ),
        (
            {"shots": [{"prompt": "Rain.", "refers": [True]}]},
            "shots[0].refers[0]: found True, expected a whole number or text",
        ),
        (
            {"shots": [{"prompt": "Rain.", "frames": 17, "given": "x.png"}]},
            "shots[0].frames: found beside 'given', whose picture or video has its own",
        ),
        (
            {"shots": [{"prompt": "Rain.", "given": ""}]},
            "shots[0].given: is empty, leave the key out to generate the shot",
        ),
        (
            {"characters": {"1": "The twin of Character 2."}},
            "characters.1: mentions 'Character 2', who is not described (described: 1)",
        ),
        (
            {"mood": ""},
            "top level: unknown key 'mood', expected one of format, characters, "
            "places, environment, story, sampler, shots, $schema",
        ),
        ({"enviroment": ""}, "top level: unknown key 'enviroment', did you mean 'environment'?"),
        ({"format": "x/2"}, "format: found 'x/2', expected 'lct_jax.script/2'"),
    ],
)
def test_refuses_with_file_and_field(tmp_path, changes, expected):
    assert _refusal(tmp_path, _script(**changes)) == expected


def test_refuses_a_given_file_that_is_missing(tmp_path):
    message = _refusal(tmp_path, _script(shots=[{"prompt": "Rain.", "given": "no.png"}]))
    assert message == f"shots[0].given: no such file: {str(tmp_path / 'no.png')!r}"


def test_refuses_invalid_json(tmp_path):
    assert _refusal(tmp_path, '{\n "a": }').startswith("not JSON at line 2, column 7: ")
    assert _refusal(tmp_path, "[" * 100_000).startswith(
        "not JSON that can be read: maximum recursion"
    )
    assert _refusal(tmp_path, '{"a": 1' + "0" * 5000).startswith(
        "not JSON that can be read: Exceeds"
    )
    assert _refusal(tmp_path, "[]") == "top level: found a list [...], expected an object {...}"
    assert _refusal(tmp_path, '{"a": 1, "a": 2}') == "key 'a' is written twice in one object"
    deep = '{"a": [{"b": 1}, {"b": 1,\n"b": 2}],\n"c": {}}'
    assert _refusal(tmp_path, deep) == "line 2: key 'b' is written twice in one object"


def test_names_the_line_of_the_field_where_a_file_has_several(tmp_path):
    text = """{
      "format": "lct_jax.script/1",
      "characters": {"1": "A \\"tall\\" [man], {old}."}, "story":
        "Character 2 leaves.",
      "shots": [
        {"prompt": "Rain."}, {"prompt": "Sun.",
         "frames": 20}
      ]
    }
    """
    assert _refusal(tmp_path, text).startswith("line 7: shots[1].frames: found 20, expected 4n+1")
    right = text.replace("20", "21")
    assert _refusal(tmp_path, right).startswith("line 4: story: mentions 'Character 2'")


def test_half_of_a_surrogate_pair_is_refused(tmp_path):
    message = _refusal(tmp_path, _script(story="A dog \ud83d"))
    assert message == "story: found '\\ud83d', half of a surrogate pair, expected Unicode"


def test_frames_and_given_that_are_null_are_left_to_the_sampler(tmp_path):
    shots = [{"prompt": "Rain.", "frames": None, "given": None}]
    assert _load(tmp_path, _script(shots=shots)).shots == (ShotPrompt("Rain."),)


def test_a_key_for_editors_is_passed_over(tmp_path):
    script = _script()
    assert _load(tmp_path, {"$schema": "script.schema.json"} | script) == _load(tmp_path, script)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no\.json: no such file$"):
        load_script(tmp_path / "no.json")


@pytest.mark.parametrize(("name", "shots"), [("bunny_meadow", 4), ("two_strangers", 6)])
def test_example_scripts_load_and_are_short(name, shots):
    script = load_script(EXAMPLES / f"{name}.json")
    assert len(script.shots) == shots
    assert all(len(shot.text.split()) <= 30 for shot in script.shots)
    assert all(len(text.split()) <= 20 for text in script.prompt.characters.values())
