"""Scripts of format 2, in YAML and in JSON: every field, the way back to a file, and mistakes with their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lct_jax.directing.prompts import Condition, ShotPrompt
from lct_jax.directing.save_script import save_script
from lct_jax.directing.script import CastPicture, load_script
from lct_jax.directing.yaml_text import parse_yaml
from lct_jax.errors import InputError

SCRIPT = """\
format: lct_jax.script/2
characters:
  1: A tall man.
  2:
    text: A woman in red.
    images:
    - a.png
    - {file: b.png, prompt: Character 2 from behind., time: 0.2}
places:
  quay: {images: [a.png]}
environment: A quay.
sampler: {mode: causal, steps: 20, guidance: 5, seed: 3, negative_scene: Blurred.}
shots:
- prompt: Character 1 waits.
  seconds: 2
  aspect: 16:9
  place: quay
  negative: Rain.
  seed: 7
- prompt: Rain falls.
  cut: false
  overlap: 5
  frames: 17
  last: {file: a.png, time: 0.05, frames: 8}
- prompt: Fog.
  key: true
  shown: false
  first: a.png
  refers: [4]
- prompt: no
  given: {file: x.safetensors, tensor: shot_02}
"""
NAMES = ("a.png", "b.png", "x.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_bytes(b"any")
    return tmp_path


def write(folder: Path, text: str, name: str = "s.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_field_of_a_yaml_script_is_read(folder):
    script = load_script(write(folder, SCRIPT))
    a, b, x = (str(folder / name) for name in NAMES)
    assert script.prompt.characters == {"1": "A tall man.", "2": "A woman in red."}
    assert script.pictures == (
        CastPicture(Condition(a), "A close-up of Character 2.", character="2"),
        CastPicture(Condition(b, 0.2), "Character 2 from behind.", character="2"),
        CastPicture(Condition(a), "A wide shot of quay.", place="quay"),
    )
    assert script.sampler == {
        "mode": "causal", "steps": 20, "guidance": 5.0, "seed": 3, "negative_scene": "Blurred.",
    }  # fmt: skip
    assert script.shots == (
        ShotPrompt(
            "Character 1 waits.", seconds=2.0, aspect="16:9", place="quay", negative="Rain.", seed=7
        ),
        ShotPrompt("Rain falls.", cut=False, overlap=5, frames=17, last=Condition(a, 0.05, 8)),
        ShotPrompt("Fog.", key=True, shown=False, first=Condition(a), refers=(4,)),
        ShotPrompt("no", given=Condition(x, tensor="shot_02")),
    )


def test_pictures_are_shots_where_a_shot_names_them(folder):
    script = load_script(write(folder, SCRIPT))
    # No shot names character 2.
    assert [shot.text for shot in script.list_shots()[4:]] == ["A wide shot of quay."]
    assert [script.picture_of(n) for n in (0, 4)] == ["", "quay"]


@pytest.mark.parametrize("name", ["again.yaml", "again.json", "again.yml"])
def test_a_script_that_was_saved_is_read_as_it_was(folder, name):
    script = load_script(write(folder, SCRIPT))
    save_script(folder / name, script)
    assert load_script(folder / name) == script


def test_json_and_yaml_are_read_alike(folder):
    as_json = write(folder, json.dumps(parse_yaml(SCRIPT)), "s.json")
    assert load_script(as_json) == load_script(write(folder, SCRIPT))


def test_plain_words_mean_what_yaml_1_2_says():
    text = "{a: 16:9, b: no, c: 012, d: 1e3, e: ~, f: '1', 1: true, g: 2001-01-01, h: .5, i: -3}"
    assert parse_yaml(text) == {
        "a": "16:9", "b": "no", "c": 12, "d": 1000.0, "e": None, "f": "1", "1": True,
        "g": "2001-01-01", "h": 0.5, "i": -3,
    }  # fmt: skip


def change(line: str, by: str) -> str:
    assert line in SCRIPT
    return SCRIPT.replace(line, by)


OTHER = "mentions 'Character 9', who is not described (described: 1, 2)"
EARLIER = "expected an earlier, a given or a key shot, counted from 1"


@pytest.mark.parametrize(
    ("line", "by", "expected"),
    [
        ("seconds: 2", "secons: 2", "15: shots[0]: unknown key 'secons', did you mean 'seconds'?"),
        (
            "environment: A", "enviroment: A",
            "11: top level: unknown key 'enviroment', did you mean 'environment'?",
        ),
        ("- prompt: Fog.\n  key", "- key", "25: shots[2]: key 'prompt' is missing"),
        ("frames: 17", "frames: 0", "23: shots[1].frames: found 0, expected 4n+1 frames, at least 1"),
        (
            "frames: 17", "frames: 10000",
            "23: shots[1].frames: found 10,000, expected at most 1,001 frames: divide it into shots "
            "with 'overlap'",
        ),
        ("Rain falls", "Character 9", f"20: shots[1].prompt: {OTHER}"),
        ("behind", "Character 9", f"8: characters.2.images[1].prompt: {OTHER}"),
        ("A woman", "Character 9", f"5: characters.2.text: {OTHER}"),
        ("refers: [4]", "refers: [3]", f"29: shots[2].refers[0]: found 3, {EARLIER}"),
        ("refers: [4]", "refers: [2]", f"29: shots[2].refers[0]: found 2, {EARLIER}"),
        ("first: a.png", "first: no.png", "28: shots[2].first: no such file: '{folder}/no.png'"),
        ("  overlap: 5", "  overlap: 4", "22: shots[1].overlap: found 4, expected 4n+1 frames: 1 or 5"),
        (
            "  cut: false\n", "",
            "21: shots[1].overlap: found where the shot starts with a cut, expected 'cut' false",
        ),
        ("frames: 8", "frames: 5", "24: shots[1].last.frames: found 5, expected 4n last frames"),
        (
            "seconds: 2", "seconds: 2\n  frames: 17",
            "15: shots[0].seconds: found beside 'frames', expected one of the two",
        ),
        (
            "aspect: 16:9", "aspect: wide",
            "16: shots[0].aspect: found 'wide', expected width to height, such as 16:9",
        ),
        (
            "aspect: 16:9", "height: 32",
            "16: shots[0].height: found without 'width', expected both or none",
        ),
        (
            "first: a.png", "first: a.png\n  aspect: 1:1",
            "29: shots[2].aspect: found beside 'first', whose pictures have a size of their own",
        ),
        ("time: 0.05", "time: -1", "24: shots[1].last.time: found -1.0, expected a number of at least 0"),
        ("key: true", "seed: -1", "26: shots[2].seed: found -1, expected a number of at least 0"),
        ("seconds: 2", "seconds: .nan", "15: shots[0].seconds: found '.nan', expected a number"),
        ("time: 0.05", "time: 1", "24: shots[1].last.time: found 1.0, expected a number below 1"),
        ("steps: 20", "stepz: 20", "12: sampler: unknown key 'stepz', did you mean 'steps'?"),
        (
            "mode: causal", "mode: sideways",
            "12: sampler.mode: found 'sideways', expected joint, autoregressive, causal, references, "
            "shared_attention, in_context or image_to_video",
        ),
        ("first: a.png", "first: .", "28: shots[2].first: found a folder, expected a file: '{folder}'"),
        (
            "first: a.png", f"first: {'a' * 300}",
            f"28: shots[2].first: found '{'a' * 36}..., expected a file that can be read (File name too long)",
        ),
        (
            "first: a.png", "first: x.safetensors",
            "28: shots[2].first: found latents, 'x.safetensors', expected an image or a video",
        ),
        ("frames: 8", "tensor: x", "24: shots[1].last.tensor: found beside 'a.png', which holds no latents"),
        ("  quay: {", "  moon: {", "10: places.moon: no shot has this 'place'"),
        ("/2", "/3", "1: format: found 'lct_jax.script/3', expected 'lct_jax.script/2'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_line_and_field(folder, line, by, expected):
    path = write(folder, change(line, by))
    with pytest.raises(InputError) as caught:
        load_script(path)
    assert str(caught.value) == f"{path}: line {expected.format(folder=folder)}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: 2", "not YAML at line 2, column 2: expected ',' or ']', but got ':'"),
        ("a: 1\na: 2", "line 2: key 'a' is written twice in one object"),
        ("a: !!python/name:os.x", "line 1: found the tag 'tag:yaml.org,2002:python/name:os.x', expected none"),
        ("? [a]\n: 1", "line 1: found a list or object as a key"),
        ("- 1", "top level: found a list [...], expected an object {...}"),
        (
            "a: Wide: a quay.",
            "not YAML at line 1, column 8: mapping values are not allowed here (text with ': ' in it stands in "
            "quotes, and the fields of one object begin in one column)",
        ),
        (
            "a:\n\tb: 1",
            "not YAML at line 2, column 1: found character '\\t' that cannot start any token (a tab: indent "
            "with spaces)",
        ),
        ("a: 1\nb: '\0'", "not YAML at line 2: found the character '\\x00'"),
        ("a: 1" + "0" * 5000, "line 1: found a number of 5,001 digits"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_object_is_refused(folder, text, expected):
    path = write(folder, text)
    with pytest.raises(InputError) as caught:
        load_script(path)
    assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them(folder, ends):
    path = folder / "ends.yaml"
    path.write_bytes(change("frames: 17", "frames: 0").replace("\n", ends).encode())
    with pytest.raises(InputError, match=r"line 23: shots\[1\]\.frames: found 0, expected"):
        load_script(path)


def test_a_file_of_utf_16_is_named_as_that(folder):
    path = folder / "wide.yaml"
    path.write_bytes(SCRIPT.encode("utf-16"))
    with pytest.raises(
        InputError, match=r"wide\.yaml: not UTF-8 text \(UTF-16 or UTF-32, save it as UTF-8"
    ):
        load_script(path)


def test_a_file_that_is_too_large_for_a_script_is_not_read(folder):
    path = folder / "weights.yaml"
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(InputError, match=r"found 10,000,000,000 bytes, expected at most 16,000,0"):
        load_script(path)


def test_aliases_stand_for_what_they_name(folder):
    text = (
        "format: lct_jax.script/2\nenvironment: A harbour.\nshots:\n- &fog {prompt: Fog.}\n- *fog\n"
    )
    assert [shot.text for shot in load_script(write(folder, text)).shots] == ["Fog.", "Fog."]


def test_a_key_shot_goes_on_from_key_shots_alone(folder):
    """It is sampled before all others, so there would be nothing to go on from."""
    text = change("- prompt: Rain falls.", "- prompt: Rain falls.\n  key: true")
    with pytest.raises(InputError, match=r"line 23: shots\[1\]\.overlap: found in a key shot, exp"):
        load_script(write(folder, text))
    text = text.replace("  overlap: 5\n", "")
    with pytest.raises(
        InputError, match=r"line 22: shots\[1\]\.cut: found in a key shot, expected"
    ):
        load_script(write(folder, text))
