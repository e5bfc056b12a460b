"""Tests the chat client against a real server on loopback that is slow, busy or broken: waits, tries, named errors."""

from __future__ import annotations

import time

import pytest
from chat_asks import ASKED, count, fail, make_chat
from chat_server import (
    Reply,
    answer,
    body,
    cut_short,
    message,
    page,
    raw,
    serve_chat,
    slow,
    status,
    trickle,
    truncated,
)

from lct_jax.chat import ChatError


@pytest.mark.parametrize(
    "bad",
    [
        slow(2.5),
        status(429, Retry_After="0"),
        status(500),
        status(503),
        cut_short,
        truncated,
        page(502, "Bad Gateway"),
        page(200, "Please wait"),
        body({"error": {"message": "The provider is overloaded", "code": 529}}),
        body({"choices": []}),
        body({"choices": [{"error": {"message": "upstream", "code": 502}}]}),
        body("OK"),
        raw(b"[" * 100_000),
    ],
    ids=lambda _: "",
)
def test_temporary_errors_are_tried_again(tmp_path, bad):
    with serve_chat([bad, bad, answer({"count": 3})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry_After": "7"}, 7, 7),
        ({"Retry_After": "1.5"}, 1.5, 1.5),
        ({"retry_after_ms": "2500"}, 2.5, 2.5),
        # The date is that of the endpoint's clock, which is years behind the local one.
        (
            {
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
                "Retry_After": "Wed, 21 Oct 2015 07:28:09 GMT",
            },
            9,
            9,
        ),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0.1),
        ({"Retry_After": "soon"}, 0, 0.1),
        ({"Retry_After": "-4"}, 0, 0.1),
        ({"Retry_After": "1e999"}, 0, 0.1),
        ({"retry_after_ms": "nan"}, 0, 0.1),
        ({}, 0, 0.1),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("code", [429, 503])
def test_waits_as_long_as_the_endpoint_asks(tmp_path, monkeypatch, code, headers, least, most):
    waits: list[float] = []
    with serve_chat([status(code, **headers), answer({"count": 3})]) as server:
        chat = make_chat(server.url, tmp_path)
        monkeypatch.setattr("time.sleep", waits.append)
        assert chat.ask(ASKED, count) == 3
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_a_longer_wait_than_patience_is_an_error(tmp_path):
    with serve_chat([status(429, "daily limit", Retry_After="3600")]) as server:
        said = fail(server.url, tmp_path, patience=60.0)
        assert len(server.asked) == 1
    assert said.endswith(
        "HTTP 429: daily limit; it asks to wait 3600 s, more than chat.patience (60)"
    )


def test_the_last_try_raises_the_reason(tmp_path):
    with serve_chat([status(500, {"message": "out of memory"})]) as server:
        said = fail(server.url, tmp_path, tries=3)
        assert said == f"{server.url}: 3 tries, the last: HTTP 500: out of memory"
        assert len(server.asked) == 3


OK = b"HTTP/1.1 200 OK\r\n"
EVENTS = OK + b"Content-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    ("at_once", "over", "streamed"),
    [
        (b"HTTP/1.1 ", b"2", False),
        (OK, b"X-Waiting: yes\r\n", False),
        (OK + b"\r\n", b" ", False),
        (EVENTS, b": waiting\n\n", True),
        (EVENTS, b"data: {", True),
    ],
    ids=["status", "headers", "body", "comments", "stream"],
)
def test_a_slowly_arriving_answer_ends_at_the_deadline(tmp_path, at_once, over, streamed):
    with serve_chat([trickle(at_once, over, seconds=2.0)]) as server:
        chat = make_chat(server.url, None, tries=1, deadline=0.2)
        began = time.monotonic()
        with pytest.raises(ChatError) as caught:
            chat.ask(ASKED, count, on_piece=(lambda _: None) if streamed else None)
        assert time.monotonic() - began < 1.0
    end = "1 tries, the last: the answer took longer than chat.deadline (0.2 s)"
    assert str(caught.value).endswith(end)


def test_a_silent_endpoint_is_given_up_after_the_timeout(tmp_path):
    with serve_chat([slow(1.0)]) as server:
        said = fail(server.url, tmp_path, tries=1, timeout=0.1)
    assert "1 tries, the last: ReadTimeout" in said


def test_a_refused_connection_is_named(tmp_path):
    with serve_chat([status(500)]) as server:
        url = server.url
    assert "2 tries, the last: ConnectError" in fail(url, tmp_path, tries=2)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (status(401, {"message": "Incorrect API key"}), "HTTP 401: Incorrect API key"),
        (status(404, "model 'x' not found"), "HTTP 404: model 'x' not found"),
        (status(402, {"message": "Payment required"}), "HTTP 402: Payment required"),
        (
            status(
                429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}
            ),
            "HTTP 429: You exceeded your current quota",
        ),
        (body({"detail": [{"msg": "field required"}]}, 404), "HTTP 404: field required"),
        (
            body({"detail": "Not Found"}, 404),
            "HTTP 404: Not Found (LCT_CHAT_URL is the address bef",
        ),
        (body({"error": {"message": "No such user", "code": 401}}), "HTTP 401: No such user"),
        (body([{"error": {"code": 400, "message": "No key"}}], 401), "HTTP 401: No key"),
        (page(403, "Access &#100;enied"), "HTTP 403: a web page (Access denied) in place of JSON"),
        (message(content=None, refusal="I cannot describe people."), "the model refused: I cannot"),
        (message("content_filter", content=""), "the endpoint's content filter stopped the answer"),
        (message("length", content=None, reasoning_content="Hm, {"), "see chat.max_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_permanent_errors_are_named_and_not_tried_again(tmp_path, bad, said):
    with serve_chat([bad]) as server:
        assert said in fail(server.url, tmp_path)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (message(content=None), "the reply holds no text (content is null, finish_reason 'stop')"),
        (message(content=" "), "the reply holds no text (content is empty, finish_reason 'stop')"),
        (message(content=None, tool_calls=[{}]), "the model called a tool and gave no answer"),
        (page(200, "Sign in"), "HTTP 200 with a web page (Sign in) in place of JSON: a proxy"),
        (page(504, "Gateway Time-out"), "HTTP 504: a web page (Gateway Time-out)"),
        (body({"error": {"message": "overloaded", "code": 529}}), "HTTP 529: overloaded"),
        (body({"object": "list"}), 'the reply is no chat completion: {"object": "list"}'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_temporary_error_is_named_after_the_last_try(tmp_path, bad, said):
    with serve_chat([bad]) as server:
        assert f"2 tries, the last: {said}" in fail(server.url, tmp_path, tries=2)


def test_a_redirect_is_named(tmp_path):
    moved: Reply = status(301, Location="https://elsewhere.example/v1")
    with serve_chat([moved]) as server:
        said = fail(server.url, tmp_path)
    assert said.endswith("HTTP 301: the endpoint has moved to https://elsewhere.example/v1")
