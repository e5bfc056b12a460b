"""The chat client against a real server on loopback that is slow, busy, broken, or answers nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import answer, cut_short, serve_chat, slow, status, truncated

from lct_jax.chat import (
    Chat,
    ChatError,
    Endpoint,
    RefusedAnswer,
    endpoint_from_environment,
    parse_json,
    show_image,
)
from lct_jax.errors import InputError

ASKED = [{"role": "user", "content": "How many?"}]
KEY = "sk-not-to-be-seen"


def make_chat(url: str, folder: Path, **changes: Any) -> Chat:
    settings = {"timeout": 0.5, "pause": 0.01, "key": KEY, **changes}
    return Chat(Endpoint(url, "some-model", **settings), folder / "cache")


def count(value: Any) -> int:
    """Accepts {"count": whole number}."""
    if not isinstance(value, dict) or not isinstance(value.get("count"), int):
        raise InputError(f"count: found {value!r}, expected a whole number")
    return value["count"]


def test_an_answer_is_checked_counted_and_kept(tmp_path):
    with serve_chat([answer({"count": 3}, tokens=(70, 6))]) as server:
        chat = make_chat(server.url, tmp_path)
        assert [chat.ask(ASKED, count) for _ in range(3)] == [3, 3, 3]
        assert vars(chat.usage) == {"requests": 1, "prompt_tokens": 70, "completion_tokens": 6}
        assert len(server.asked) == 1
        again = make_chat(server.url, tmp_path)  # of another process, say
        assert again.ask(ASKED, count) == 3
        assert again.usage.requests == 0
        assert again.ask([{"role": "user", "content": "And now?"}], count) == 3
        assert again.usage.requests == 1
    (first, second) = server.asked
    assert (first["model"], first["messages"]) == ("some-model", ASKED)
    assert second["messages"][0]["content"] == "And now?"
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "bad",
    [slow(1.5), status(429, Retry_After="0"), status(500), status(503), cut_short, truncated],
    ids=["slow", "429", "500", "503", "cut short", "truncated"],
)
def test_what_may_pass_is_tried_again(tmp_path, bad):
    with serve_chat([bad, bad, answer({"count": 3})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
        assert len(server.asked) == 3


def test_tries_end_and_say_why(tmp_path):
    with serve_chat([status(500)]) as server:
        chat = make_chat(server.url, tmp_path, tries=3)
        with pytest.raises(ChatError, match=r"3 tries, the last: HTTP 500$") as caught:
            chat.ask(ASKED, count)
        assert len(server.asked) == 3
    assert KEY not in str(caught.value)
    assert KEY not in repr(chat.endpoint)


def test_what_will_not_pass_is_not_tried_again(tmp_path):
    with serve_chat([status(401)]) as server:
        with pytest.raises(ChatError, match="HTTP 401"):
            make_chat(server.url, tmp_path).ask(ASKED, count)
        assert len(server.asked) == 1


def test_nobody_listens(tmp_path):
    with serve_chat([status(500)]) as server:
        url = server.url
    with pytest.raises(ChatError, match="2 tries, the last: "):
        make_chat(url, tmp_path, tries=2).ask(ASKED, count)


def test_a_malformed_answer_is_asked_for_twice_again_with_the_complaint(tmp_path):
    with serve_chat([answer("three"), answer({"count": "3"}), answer({"count": 3})]) as server:
        chat = make_chat(server.url, tmp_path)
        assert chat.ask(ASKED, count) == 3
        assert chat.usage.requests == 3
    first, second, third = (asked["messages"] for asked in server.asked)
    assert first == ASKED
    assert second[1] == {"role": "assistant", "content": "three"}
    assert "it is not JSON" in second[2]["content"]
    assert "expected a whole number" in third[2]["content"]
    assert len(third) == 3  # the last complaint alone: a conversation of errors teaches nothing


def test_a_third_malformed_answer_is_the_last_and_nothing_is_kept(tmp_path):
    with serve_chat([answer({"count": None})]) as server:
        chat = make_chat(server.url, tmp_path)
        with pytest.raises(
            RefusedAnswer, match=r"3 answers were refused, the last one because count:"
        ):
            chat.ask(ASKED, count)
        assert len(server.asked) == 3
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("text", ['{"a": 1}', '```json\n{"a": 1}\n```', '  {"a": 1}\n'])
def test_json_with_and_without_a_fence(text):
    assert parse_json(text) == {"a": 1}


def test_a_key_that_is_written_twice_is_refused():
    with pytest.raises(InputError, match="key '1' is written twice"):
        parse_json('{"characters": {"1": "a", "1": "b"}}')


def test_a_picture_travels_as_jpeg():
    part = show_image(np.full((8, 8, 3), 200, np.uint8))
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")


def test_the_endpoint_comes_from_the_environment(monkeypatch):
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"LCT_CHAT_{name}", raising=False)
    with pytest.raises(InputError, match="LCT_CHAT_URL: not set in the environment"):
        endpoint_from_environment()
    monkeypatch.setenv("LCT_CHAT_URL", "ftp://x")
    monkeypatch.setenv("LCT_CHAT_MODEL", "m")
    with pytest.raises(InputError, match="LCT_CHAT_URL: found 'ftp://x', expected http"):
        endpoint_from_environment()
    monkeypatch.setenv("LCT_CHAT_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("LCT_CHAT_KEY", KEY)
    endpoint = endpoint_from_environment()
    assert (endpoint.url, endpoint.model, endpoint.key) == ("http://127.0.0.1:9/v1", "m", KEY)
