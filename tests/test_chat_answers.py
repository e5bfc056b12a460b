"""Tests which answers the chat client takes, keeps, and requests again with the complaint."""

from __future__ import annotations

from typing import Any

import pytest
from chat_asks import ASKED, GOOD, KEY, count, fail, make_chat
from chat_server import (
    answer,
    message,
    raw,
    serve_chat,
)

from lct_jax.errors import InputError


def test_an_answer_is_checked_counted_and_kept(tmp_path):
    with serve_chat([answer({"count": 3}, tokens=(70, 6))]) as server:
        chat = make_chat(server.url, tmp_path)
        assert [chat.ask(ASKED, count) for _ in range(3)] == [3, 3, 3]
        assert vars(chat.usage) == {"requests": 1, "prompt_tokens": 70, "completion_tokens": 6}
        assert len(server.asked) == 1
        again = make_chat(server.url, tmp_path)  # as in another process
        assert again.ask(ASKED, count) == 3
        assert again.usage.requests == 0
        assert again.ask([{"role": "user", "content": "And now?"}], count) == 3
        assert again.usage.requests == 1
    (first, second) = server.asked
    assert (first["model"], first["messages"]) == ("some-model", ASKED)
    assert (first["response_format"], first["temperature"]) == ({"type": "json_object"}, 0)
    assert second["messages"][0]["content"] == "And now?"
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_cut_off_answer_is_named_and_asked_again(tmp_path):
    cut = message("length", {"completion_tokens": 16}, content='{"count": ')
    with serve_chat([cut, answer({"count": 3})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
        assert "was cut off after 16 tokens" in server.asked[1]["messages"][-1]["content"]
    with serve_chat([cut]) as server:
        assert "the last one because it was cut off after 16 tokens" in fail(
            server.url, tmp_path / "b"
        )


@pytest.mark.parametrize("bad", ['{"count": "\\ud83d"}', "\ud83d", '{"count":' * 100_000])
def test_an_answer_that_no_text_or_reader_takes_is_asked_again(tmp_path, bad):
    with serve_chat([message(content=bad), answer({"count": 3})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
    assert server.asked[1]["messages"][-2]["content"] == bad.replace("\ud83d", "?")


@pytest.mark.parametrize(
    "good",
    [
        message(content=f"<think>\nThey want {{JSON}}.\n</think>\n\n{GOOD}"),
        message(content=f'Draft {{"count": 4}}.</think>{GOOD}'),
        message(content=f"Here is the JSON:\n\n```json\n{GOOD}\n```\nAnything else?"),
        message(content=f"```json {GOOD}```"),
        message(content=f"```{GOOD}```"),
        message(content=f"Sure! {GOOD} I hope that {{helps}}."),
        message(content=[{"type": "text", "text": GOOD}]),
        message(content=[{"type": "thinking", "thinking": "Hm."}, '{"count"', {"text": ": 3}"}]),
        message(content={"count": 3}),
        message(content=None, reasoning_content=GOOD),
        message(content=f"[{GOOD}]"),
        message(content=GOOD, usage={"prompt_tokens": float("inf"), "completion_tokens": "x"}),
        raw(b"\xef\xbb\xbf" + b'{"choices": [{"message": {"content": "{\\"count\\": 3}"}}]}'),
        message(usage={"prompt_tokens": 9, "completion_tokens": None}, content=GOOD),
        message(usage={"prompt_tokens": "9"}, content="\ufeff" + GOOD),
    ],
    ids=lambda _: "",
)
def test_json_is_found_in_answers_of_every_form(tmp_path, good):
    with serve_chat([good]) as server:
        chat = make_chat(server.url, tmp_path)
        assert chat.ask(ASKED, count) == 3
        assert chat.usage.completion_tokens == 0
        assert len(server.asked) == 1


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
    assert len(third) == 3  # a request has the last complaint alone


def test_a_third_malformed_answer_is_the_last_and_nothing_is_kept(tmp_path):
    with serve_chat([answer({"count": None})]) as server:
        assert "3 answers were refused, the last one because count:" in fail(server.url, tmp_path)
        assert len(server.asked) == 3
    assert not list(tmp_path.rglob("*.json"))


def test_a_kept_answer_that_is_refused_today_is_asked_again_with_the_reason(tmp_path):
    def few(value: Any) -> int:
        if count(value) > 5:
            raise InputError("count: found more than 5")
        return value["count"]

    with serve_chat([answer({"count": 9}), answer({"count": 4})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 9
        assert make_chat(server.url, tmp_path).ask(ASKED, few) == 4
        assert "count: found more than 5" in server.asked[1]["messages"][-1]["content"]
        assert make_chat(server.url, tmp_path).ask(ASKED, few) == 4  # the answer that is kept now
        assert len(server.asked) == 2


def test_a_damaged_kept_answer_is_asked_again(tmp_path):
    with serve_chat([answer({"count": 3})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
        (kept,) = (tmp_path / "cache").iterdir()
        kept.write_text('{"cou')
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
