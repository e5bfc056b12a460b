"""Captions that a language model with vision writes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from chat_server import answer, serve_chat, status
from footage_files import draw_shots, write_footage
from tiny_film import CONFIG, with_shared_codec

from lct_jax.config.network import change, sections
from lct_jax.data.footage.captions import (
    Caption,
    ask_about,
    check_answer,
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
    config = dataclasses.replace(
        with_shared_codec(),
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
