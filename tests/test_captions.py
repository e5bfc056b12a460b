"""Tests captions: a user's lines are matched to shots, and a model's answers follow the rules of scene files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from chat_server import answer, serve_chat, status
from footage_files import draw_shots, write_footage
from tiny_film import CONFIG, shared_film

from lct_jax.config.network import change, sections
from lct_jax.data.footage.captions import (
    Caption,
    ask_about,
    caption_from_lines,
    check_answer,
    read_lines,
)
from lct_jax.data.footage.report import Report
from lct_jax.data.prepare import prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.data.sets.records import PreparedSet
from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.errors import InputError

GOOD = {
    "characters": {"1": "A grey dog."},
    "environment": "A yard.",
    "story": "Character 1 digs.",
    "shots": ["Wide shot of Character 1.", "Close-up of a hole."],
}


def write_lines(path, *lines: object) -> None:
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def test_shots_take_the_prompt_that_covers_most_of_them(tmp_path):
    path = tmp_path / "a.captions.jsonl"
    write_lines(
        path,
        {"start": 0, "end": 2, "prompt": "One."},
        {"start": 2, "end": 4, "prompt": "Two."},
        {"start": 0, "end": 3, "environment": "A yard."},
        {"start": 3, "end": 9, "characters": {"1": "A dog."}, "story": "Character 1 digs."},
    )
    lines = read_lines(path)
    # At 10 frames a second these cover mostly the first, mostly the second, and a third of the second shot alone.
    caption = caption_from_lines(lines, [(0, 25), (18, 40), (36, 50)], fps=10)
    assert caption.shots == ("One.", "Two.", "")
    assert caption.prompt == GlobalPrompt({}, "A yard.", "")
    late = caption_from_lines(lines, [(40, 80)], fps=10)
    assert late == Caption(GlobalPrompt({"1": "A dog."}, "", "Character 1 digs."), ("",))
    assert caption_from_lines(lines, [(100, 120)], fps=10) == Caption(None, ("",))


def test_csv_captions_equal_jsonl_captions(tmp_path):
    path = tmp_path / "a.captions.csv"
    path.write_text(
        "start,end,prompt,characters,story\n"
        '0,2,"One, two.",,\n'
        ',,,"{""1"": ""A dog.""}",Character 1 digs.\n'
    )
    caption = caption_from_lines(read_lines(path), [(0, 20)], fps=10)
    assert caption.shots == ("One, two.",)
    assert caption.prompt == GlobalPrompt({"1": "A dog."}, "", "Character 1 digs.")


BREAKS = (
    "\u2028",
    "\u2029",
    "\x85",
    "\r",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1e",
    " \u2028\t",
    "\\n",
    "\\r\\n",
)


@pytest.mark.parametrize("mark", BREAKS, ids=ascii)
def test_line_breaks_of_every_kind_in_texts_become_spaces(tmp_path, mark):
    path = tmp_path / "a.captions.jsonl"
    path.write_bytes(f'{{"prompt": "One{mark}two."}}\r\n\r\n{{"prompt": "Three."}}'.encode())
    assert [line.prompt for line in read_lines(path)] == ["One two.", "Three."]


def test_line_breaks_in_csv_cells_become_spaces_and_lines_are_counted(tmp_path):
    path = tmp_path / "a.captions.csv"
    rows = ['"A woman\nenters.\r\nShe sits."', '"A ""big""\u2028man."', ""]
    path.write_bytes("\r\n".join(["prompt", *rows]).encode())
    assert [line.prompt for line in read_lines(path)] == [
        "A woman enters. She sits.",
        'A "big" man.',
    ]
    path.write_bytes("\r\n".join(["prompt,start", '"a\nb",0', '"c",x']).encode())
    with pytest.raises(InputError, match="line 4: start: found 'x', expected seconds"):
        read_lines(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path, encoding, delimiter):
    path = tmp_path / "a.captions.csv"
    half = {",": "0.5", ";": "0,5", "\t": "0.5"}[delimiter]
    rows = [["Start", " Prompt"], [half, "Ein Café."], ["", ""]]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    path.write_bytes(text.encode(encoding))
    first, empty = read_lines(path)
    assert (first.start, first.prompt) == (0.5, "Ein Café.")
    assert (empty.start, empty.prompt, empty.scene) == (0.0, "", None)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.captions.jsonl", "{", "line 1: not JSON"),
        (
            "a.captions.jsonl",
            '{"prompt": "a", "prompt": "b"}',
            "line 1: key 'prompt' is written twice",
        ),
        ("a.captions.jsonl", '{"prompt": "\\ud83d"}', "line 1: half of a surrogate pair"),
        ("a.captions.csv", 'prompt\n"open', "line 2: not a table (unexpected end of data)"),
        ("a.captions.csv", "prompt,Prompt\na,b", "line 1: two columns have one name"),
        ("a.captions.jsonl", '\n{"promt": "x"}', "line 2: top level: unknown key 'promt', did you"),
        ("a.captions.jsonl", '{"start": "0", "prompt": "x"}', "start: found '0', expected seconds"),
        (
            "a.captions.jsonl",
            '{"start": 3, "end": 3}',
            "found start 3.0 and end 3.0, expected 0 <=",
        ),
        ("a.captions.jsonl", '{"story": "Character 2 digs."}', "story: mentions 'Character 2'"),
        ("a.captions.csv", "start,prompt\nx,y", "line 2: start: found 'x', expected seconds"),
        ("a.captions.csv", "prompt\nx,y", "line 2: more columns than the header names"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_lines(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert expected in str(caught.value)


def test_invalid_utf8_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.captions.csv"
    path.write_bytes("prompt\nCafé".encode("latin-1"))
    with pytest.raises(
        InputError, match="line 2: byte 10 is no UTF-8 text, expected the file saved"
    ):
        read_lines(path)


def test_a_good_answer_is_a_caption():
    prompt = GlobalPrompt({"1": "A grey dog."}, "A yard.", "Character 1 digs.")
    assert check_answer(GOOD, shots=2) == Caption(prompt, tuple(GOOD["shots"]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shots": ["One."]}, "answer: shots: found 1 texts, expected 2, one a shot"),
        ({"shots": ["One.", "Character 2."]}, "answer: shots[1]: mentions 'Character 2'"),
        ({"shots": ["[SHOT CUT] One.", "Two."]}, "answer: shots[0]: found the tag '[SHOT CUT]'"),
        ({"shots": ["One.", ""]}, "answer: shots[1]: is empty"),
        ({"story": "Character A digs."}, "answer: story: mentions 'Character A'"),
        ({"characters": {"the dog": "Grey."}}, "answer: characters: ID 'the dog' is not made of"),
        ({"mood": "sad"}, "answer: top level: unknown key 'mood'"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused(change, expected):
    with pytest.raises(InputError) as caught:
        check_answer({**GOOD, **change}, shots=2)
    assert str(caught.value).startswith(expected)


def test_a_scene_is_shown_shot_by_shot():
    frame = np.zeros((8, 8, 3), np.uint8)
    system, user = ask_about([[frame, frame], [frame]])
    assert system["role"] == "system"
    kinds = [part.get("text", "picture") for part in user["content"]]
    assert kinds == ["Shot 1 of 2:", "picture", "picture", "Shot 2 of 2:", "picture"]


def test_pictures_of_a_scene_are_merged_up_to_the_limit():
    frame = np.zeros((8, 8, 3), np.uint8)
    _, user = ask_about([[frame, frame], [frame, frame]], limit=1)
    kinds = [part.get("text", "picture") for part in user["content"]]
    assert kinds == ["Shots 1 to 2 of 2, one row of frames for each, from the top:", "picture"]


@pytest.fixture
def asking(tmp_path) -> Callable[[], Report]:
    """Returns a function that prepares a folder with a film of two scenes, of two shots and of one, captioned by a
    model."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_footage(folder / "a.mp4", draw_shots((20, 20, 20), height=32, width=48, seed=20))
    scenes = [[[0, 20], [20, 40]], [[40, 60]]]
    (folder / "a.cuts.json").write_text(
        json.dumps({"format": "lct_jax.cuts/1", "fps": 12, "scenes": scenes})
    )
    codec = str(shared_film().prepared / "codec.safetensors")
    config = dataclasses.replace(
        CONFIG,
        prepare=dataclasses.replace(CONFIG.prepare, codec_from=codec),
        footage=dataclasses.replace(CONFIG.footage, captions="chat", caption_frames=2),
    )
    runner = run_here
    return partial(prepare_videos, folder, tmp_path / "set", config, runner=runner)


def set_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {"URL": url, "MODEL": "m", "KEY": "k"}.items():
        monkeypatch.setenv(f"LCT_CHAT_{name}", value)
    monkeypatch.setattr("time.sleep", lambda _: None)


def test_a_model_is_asked_again_with_the_complaint_until_captions_are_valid(
    tmp_path, asking, monkeypatch
):
    """The model gives a 429, an answer without the shots, a wrong ID, then a good one; the second scene succeeds in the
    next run."""
    wrong = {**GOOD, "shots": ["Character 7.", "A hole."]}
    replies = [
        status(429, Retry_After="0"),
        answer({**GOOD, "shots": []}),
        answer(wrong),
        answer(GOOD),
    ]
    with serve_chat(replies) as server:
        set_endpoint(monkeypatch, server.url)
        report = asking()
        assert len(server.asked) == 4 + 3
    with serve_chat([answer({**GOOD, "shots": ["Rain."]})]) as later:
        set_endpoint(monkeypatch, later.url)
        again = asking()
        assert len(later.asked) == 1
    (row,) = report.rows
    refused = (
        "caption refused: 3 answers were refused, the last one because "
        "answer: shots: found 2 texts, expected 1, one a shot"
    )
    assert {name: n for name, n in row.shots.items() if n} == {"kept": 2, refused: 1}
    assert dict(report.usage) == {"requests": 6, "prompt_tokens": 60, "completion_tokens": 30}
    assert {name: n for name, n in again.rows[0].shots.items() if n} == {"kept": 3}
    assert again.usage["requests"] == 1
    assert asking().usage["requests"] == 0
    prepared = PreparedSet(tmp_path / "set")
    texts = [prepared.read_shot(shot)["text"].tobytes().decode() for shot in range(3)]
    assert texts == [
        "[SHOT CUT] Wide shot of Character 1.",
        "[SHOT CUT] Close-up of a hole.",
        "[SHOT CUT] Rain.",
    ]
    pictures = [
        part for part in server.asked[0]["messages"][1]["content"] if part["type"] == "image_url"
    ]
    assert len(pictures) == 4


def test_an_unreachable_model_is_asked_again_in_the_next_run(tmp_path, asking, monkeypatch):
    with serve_chat([answer(GOOD), status(500)]) as server:
        set_endpoint(monkeypatch, server.url)
        shots = asking().rows[0].shots
    assert shots["kept"] == 2
    assert [n for name, n in shots.items() if name.startswith("no answer: ")] == [1]
    with serve_chat([answer({**GOOD, "shots": ["Rain."]})]) as server:
        set_endpoint(monkeypatch, server.url)
        assert {name: n for name, n in asking().rows[0].shots.items() if n} == {"kept": 3}
        assert len(server.asked) == 1  # the first scene's answer was kept
    assert len(PreparedSet(tmp_path / "set").shot_names) == 3


def test_a_text_over_its_span_is_asked_again_with_the_reason_and_not_kept(
    tmp_path, asking, monkeypatch
):
    """The span is 32 tokens: two marks, "[SHOT CUT]" as four, and 26 words."""
    long = {**GOOD, "shots": [GOOD["shots"][0], "hole " * 27]}
    with serve_chat([answer(long), answer(GOOD), answer({**GOOD, "shots": ["Rain."]})]) as server:
        set_endpoint(monkeypatch, server.url)
        assert asking().rows[0].shots["kept"] == 3
        complaint = server.asked[1]["messages"][-1]["content"]
        assert "answer: shots[1]: found 33 tokens, expected at most 32, which is about" in complaint
    kept = [path.read_text() for path in (tmp_path / "set" / "work" / "chat").iterdir()]
    assert len(kept) == 2
    assert "hole hole" not in "".join(kept)


def test_a_kept_answer_over_a_smaller_span_is_asked_again(tmp_path, asking, monkeypatch):
    replies = [answer({**GOOD, "shots": [GOOD["shots"][0], "hole " * 26]})]
    replies += [answer({**GOOD, "shots": ["Rain."]}), answer(GOOD)]
    with serve_chat(replies) as server:
        set_endpoint(monkeypatch, server.url)
        config = asking.args[2]
        assert asking().rows[0].shots["kept"] == 3
        model = change(config.network, shot_span=31)
        smaller = partial(
            asking.func, *asking.args[:2], dataclasses.replace(config, **sections(model))
        )
        row = smaller(**asking.keywords).rows[0]
        assert (row.shots["kept"], row.too_long) == (3, [])
        assert len(server.asked) == 3


def test_the_key_is_in_no_file_and_no_report(tmp_path, asking, monkeypatch):
    key = "sk-not-to-be-seen"
    with serve_chat([status(401, f"bad key {key}")]) as server:
        set_endpoint(monkeypatch, server.url)
        monkeypatch.setenv("LCT_CHAT_KEY", f"{key}\n")
        shown = asking().show()
    assert server.headers[0]["Authorization"] == f"Bearer {key}"
    assert "HTTP 401: bad key ***" in shown
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if key.encode() in path.read_bytes()] == []


def test_captions_by_a_model_need_an_endpoint(asking, monkeypatch):
    monkeypatch.delenv("LCT_CHAT_URL", raising=False)
    with pytest.raises(InputError, match="LCT_CHAT_URL: not set in the environment"):
        asking()
