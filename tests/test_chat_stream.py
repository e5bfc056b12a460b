"""Tests streamed answers, whole and broken off."""

from __future__ import annotations

import pytest
from chat_asks import ASKED, GOOD, count, make_chat
from chat_server import (
    answer,
    page,
    serve_chat,
    status,
    stream,
    stream_of,
    unless,
)

from lct_jax.chat import ChatError


def test_a_streamed_answer_is_passed_on_in_pieces_and_repaired(tmp_path):
    replies = [
        stream('{"count": ', '"3"}', usage={"prompt_tokens": 8, "completion_tokens": 5}),
        stream('{"cou', end="", done=False),
        stream('{"count"', ": 3}", usage={"prompt_tokens": 9, "completion_tokens": 6}),
    ]
    heard = []
    with serve_chat(replies) as server:
        chat = make_chat(server.url, tmp_path)
        assert chat.ask(ASKED, count, on_piece=heard.append) == 3
        assert [asked["stream"] for asked in server.asked] == [True] * 3
        assert "expected a whole number" in server.asked[1]["messages"][-1]["content"]
    assert [(piece.attempt, piece.text) for piece in heard] == [
        *[(1, '{"count": '), (1, '"3"}'), (2, '{"cou'), (3, '{"count"'), (3, ": 3}")]
    ]
    assert vars(chat.usage) == {"requests": 2, "prompt_tokens": 17, "completion_tokens": 11}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (stream('{"cou', end="", done=False), "the stream ended before the answer did"),
        (stream('{"cou', end="length"), "it was cut off"),
        (stream(end="content_filter"), "content filter"),
        (stream(), "the reply holds no text"),
        (page(200, "Sign in"), "HTTP 200 with a web page (Sign in)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stream_that_goes_wrong_is_named(tmp_path, bad, said):
    with serve_chat([bad]) as server, pytest.raises(ChatError) as caught:
        make_chat(server.url, tmp_path, tries=2).ask(ASKED, count, on_piece=lambda _: None)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b'retry: 10\n\nid: 5\n\n: ping\n\ndata: {"choices": [{"delta": {"content": "{\\"count\\": 3}"}}]}\n\n',
        b'data: {"choices": [{"message": {"content": "{\\"count\\": 3}"}}]}\n\n',
    ],
)
def test_events_without_data_and_an_answer_in_one_event_are_read(tmp_path, data):
    with serve_chat([stream_of(data + b"data: [DONE]\n\n")]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count, on_piece=lambda _: None) == 3


def test_a_stream_that_nobody_asked_for_is_read(tmp_path):
    with serve_chat([stream(*GOOD)]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
    assert "stream" not in server.asked[0]


def test_endpoints_without_streaming_or_usage_of_streams_are_read(tmp_path):
    heard: list[str] = []
    refusing = unless(
        lambda asked: "stream_options" in asked,
        status(400, "unknown field stream_options"),
        answer({"count": 3}),
    )
    with serve_chat([refusing]) as server:
        chat = make_chat(server.url, tmp_path)
        assert chat.ask(ASKED, count, on_piece=lambda piece: heard.append(piece.text)) == 3
    assert heard == [GOOD]
