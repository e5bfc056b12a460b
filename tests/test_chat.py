"""Tests the chat client against a real server on loopback that is slow, busy, broken, or answers nonsense."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import (
    Reply,
    answer,
    body,
    cut_short,
    message,
    page,
    serve_chat,
    slow,
    status,
    stream,
    stream_of,
    trickle,
    truncated,
    unless,
)

from lct_jax.chat import Chat, ChatError, endpoint_from_environment, show_image
from lct_jax.chat.endpoint import make_endpoint
from lct_jax.config import ChatConfig
from lct_jax.errors import InputError

ASKED = [{"role": "user", "content": "How many?"}]
KEY = "sk-not-to-be-seen"
GOOD = '{"count": 3}'


def make_chat(url: str, folder: Path, key: str = KEY, **changes: Any) -> Chat:
    config = ChatConfig(**{"timeout": 1.0, "pause": 0.01, **changes})
    return Chat(make_endpoint(url, "some-model", key), folder / "cache", config)


def count(value: Any) -> int:
    """Accepts {"count": whole number}."""
    if not isinstance(value, dict) or not isinstance(value.get("count"), int):
        raise InputError(f"count: found {value!r}, expected a whole number")
    return value["count"]


def fail(url: str, folder: Path, **changes: Any) -> str:
    """Returns the error message of a request without an answer."""
    with pytest.raises(ChatError) as caught:
        make_chat(url, folder, **changes).ask(ASKED, count)
    return str(caught.value)


def show_pictures(number: int) -> list[dict[str, Any]]:
    picture = show_image(np.zeros((8, 8, 3), np.uint8))
    return [{"role": "user", "content": [{"type": "text", "text": "?"}, *[picture] * number]}]


def count_pictures(asked: dict[str, Any]) -> int:
    return json.dumps(asked).count('"image_url":')


# ---- answers that are kept, and temporary problems --------------------------------------------------


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


def test_a_slowly_arriving_answer_ends_at_the_deadline(tmp_path):
    with serve_chat([trickle(1.0)]) as server:
        said = fail(server.url, tmp_path, tries=1, deadline=0.2)
    assert said.endswith("1 tries, the last: the answer took longer than chat.deadline (0.2 s)")


def test_a_silent_endpoint_is_given_up_after_the_timeout(tmp_path):
    with serve_chat([slow(1.0)]) as server:
        said = fail(server.url, tmp_path, tries=1, timeout=0.1)
    assert "1 tries, the last: ReadTimeout" in said


def test_a_refused_connection_is_named(tmp_path):
    with serve_chat([status(500)]) as server:
        url = server.url
    assert "2 tries, the last: ConnectError" in fail(url, tmp_path, tries=2)


# ---- errors that are named --------------------------------------------------------------------------


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
        (body({"error": {"message": "No such user", "code": 401}}), "HTTP 401: No such user"),
        (page(403, "Access denied"), "HTTP 403: a web page (Access denied) in place of JSON"),
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


def test_a_cut_off_answer_is_named_and_asked_again(tmp_path):
    cut = message("length", {"completion_tokens": 16}, content='{"count": ')
    with serve_chat([cut, answer({"count": 3})]) as server:
        assert make_chat(server.url, tmp_path).ask(ASKED, count) == 3
        assert "was cut off after 16 tokens" in server.asked[1]["messages"][-1]["content"]
    with serve_chat([cut]) as server:
        assert "the last one because it was cut off after 16 tokens" in fail(
            server.url, tmp_path / "b"
        )


def test_a_redirect_is_named(tmp_path):
    moved: Reply = status(301, Location="https://elsewhere.example/v1")
    with serve_chat([moved]) as server:
        said = fail(server.url, tmp_path)
    assert said.endswith("HTTP 301: the endpoint has moved to https://elsewhere.example/v1")


# ---- forms of answers -------------------------------------------------------------------------------


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


# ---- fields that an endpoint refuses ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("response_format", "'response_format.type' must be 'json_schema' or 'text'"),
        ("temperature", "'temperature' does not support 0 with this model, only the default (1)"),
        ("response_format", "Bad Request"),
        ("temperature", ""),
    ],
)
def test_fields_that_an_endpoint_refuses_are_left_out_from_then_on(tmp_path, name, reason):
    refusing = unless(
        lambda asked: name in asked, status(400, {"message": reason}), answer({"count": 3})
    )
    with serve_chat([refusing]) as server:
        chat = make_chat(server.url, tmp_path)
        assert chat.ask(ASKED, count) == 3
        before = len(server.asked)
        assert chat.ask([{"role": "user", "content": "And now?"}], count) == 3
        assert len(server.asked) == before + 1
        assert name not in server.asked[-1]


def test_fields_may_be_left_out_by_config(tmp_path):
    with serve_chat([answer({"count": 3})]) as server:
        make_chat(server.url, tmp_path, answers="text", temperature=-1.0, max_tokens=900).ask(
            ASKED, count
        )
    assert server.asked == [{"model": "some-model", "messages": ASKED, "max_tokens": 900}]


def test_max_tokens_is_asked_for_by_its_newer_name(tmp_path):
    reason = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    refusing = unless(
        lambda asked: "max_tokens" in asked, status(400, reason), answer({"count": 3})
    )
    with serve_chat([refusing]) as server:
        assert make_chat(server.url, tmp_path, max_tokens=900).ask(ASKED, count) == 3
        assert server.asked[-1]["max_completion_tokens"] == 900


def test_a_request_refused_in_every_form_fails_with_the_endpoints_reason(tmp_path):
    with serve_chat([status(400, "the model 'some-model' is not loaded")]) as server:
        said = fail(server.url, tmp_path)
        # The requests are whole, without response_format, and without temperature.
        assert len(server.asked) == 3
    assert said.endswith("HTTP 400: the model 'some-model' is not loaded")


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("at most 4 images may be given in one prompt", 4),
        ("You set image=1 in `--limit-mm-per-prompt`, but found 12 items", 1),
        ("too many images: 12 + 0 > 5", 5),
        ("maximum context length is 4096 tokens, you asked for 90000", 6),
        ("the images are too large", 3),
    ],
)
def test_fewer_pictures_are_shown_where_an_endpoint_takes_few(tmp_path, reason, limit):
    refusing = unless(
        lambda asked: count_pictures(asked) > limit,
        status(400, {"message": reason}),
        answer({"count": 3}),
    )
    with serve_chat([refusing]) as server:
        chat = make_chat(server.url, tmp_path)
        for text in "ab":
            asked = [{"role": "system", "content": text}, *show_pictures(12)]
            assert chat.ask(asked, count, show_fewer=show_pictures) == 3
        assert [count_pictures(asked) for asked in server.asked][-2:] == [limit, limit]


def test_a_limit_of_pictures_may_be_set(tmp_path):
    with serve_chat([answer({"count": 3})]) as server:
        chat = make_chat(server.url, tmp_path, images=2)
        assert chat.ask(show_pictures(12), count, show_fewer=show_pictures) == 3
        assert count_pictures(server.asked[0]) == 2
        with pytest.raises(
            ChatError, match=r"11 pictures are to be shown.*takes 2 \(chat.images\)"
        ):
            chat.ask(show_pictures(11), count)


def test_a_model_that_takes_no_pictures_is_named_at_once(tmp_path):
    with serve_chat([status(400, "this model does not support image input")]) as server:
        with pytest.raises(ChatError, match="HTTP 400: this model does not support image input"):
            make_chat(server.url, tmp_path).ask(show_pictures(12), count, show_fewer=show_pictures)
        assert len(server.asked) == 1


# ---- streams -------------------------------------------------------------------------------------


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


# ---- the endpoint and its secrets ----------------------------------------------------------------


def test_the_endpoint_comes_from_the_environment(monkeypatch):
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"LCT_CHAT_{name}", raising=False)
    with pytest.raises(InputError, match="LCT_CHAT_URL: not set in the environment"):
        endpoint_from_environment()
    monkeypatch.setenv("LCT_CHAT_URL", "ftp://x")
    monkeypatch.setenv("LCT_CHAT_MODEL", "m\n")
    with pytest.raises(InputError, match="LCT_CHAT_URL: found 'ftp://x', expected http"):
        endpoint_from_environment()
    monkeypatch.setenv("LCT_CHAT_URL", " http://127.0.0.1:9/v1/chat/completions\n")
    monkeypatch.setenv("LCT_CHAT_KEY", f"{KEY}\r\n")
    endpoint = endpoint_from_environment()
    assert (endpoint.url, endpoint.model) == ("http://127.0.0.1:9/v1", "m")
    assert endpoint.key.reveal() == KEY
    assert KEY not in f"{endpoint} {endpoint!r} {vars(endpoint)} {endpoint.key}"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (f"{KEY}\n{KEY}", "character 18 of 35 is U+000A"),
        (f"Bearer {KEY}", "character 7 of 24 is U+0020"),
        (f"{KEY}\x00", "character 18 of 18 is U+0000"),
        (f"\ufeff{KEY}", "character 1 of 18 is U+FEFF"),
        (f"{KEY}é", "character 18 of 18 is U+00E9"),
        (f'"{KEY}"', "stands in quotes"),
    ],
)
def test_a_key_that_no_header_holds_is_refused_and_not_shown(key, said):
    with pytest.raises(InputError) as caught:
        make_endpoint("http://127.0.0.1:9/v1", "m", key)
    assert str(caught.value).startswith("LCT_CHAT_KEY: ")
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("code", [400, 401, 500])
def test_a_key_that_the_endpoint_sends_back_is_hidden(tmp_path, caplog, code):
    caplog.set_level(logging.DEBUG)
    with serve_chat(
        [status(code, {"message": f"wrong key {KEY}, header b'Bearer {KEY}'"})]
    ) as server:
        said = fail(server.url, tmp_path, tries=1)
    assert said.endswith(f"HTTP {code}: wrong key ***, header b'Bearer ***'")
    assert KEY not in caplog.text


@pytest.mark.parametrize("length", range(280, 305))
def test_a_key_is_hidden_where_a_long_reason_is_cut(tmp_path, length):
    reason = {"message": "x" * (length - len(KEY)) + f" {KEY} " + "y" * 50}
    with serve_chat([body({"error": reason | {"code": 403}})]) as server:
        said = fail(server.url, tmp_path)
    assert "sk-" not in said


def test_a_key_in_a_stream_is_hidden(tmp_path):
    events = f'data: {{"error": {{"message": "bad {KEY}", "code": 403}}}}\n\n'.encode()
    with serve_chat([stream_of(events)]) as server, pytest.raises(ChatError) as caught:
        make_chat(server.url, tmp_path).ask(ASKED, count, on_piece=lambda _: None)
    assert str(caught.value).endswith("HTTP 403: bad ***")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pass-word-1@h:port/v1",
        "user:pass-word-1@h/v1",
        "x:/@y",
    ],
)
def test_a_password_in_a_url_that_is_refused_is_not_shown(url):
    with pytest.raises(InputError) as caught:
        make_endpoint(url, "m")
    assert str(caught.value).startswith("LCT_CHAT_URL: ")
    assert "word" not in str(caught.value)


def test_a_key_in_an_answer_is_hidden(tmp_path):
    with serve_chat([answer({"count": KEY})]) as server:
        assert "count: found {'count': '***'}" in fail(server.url, tmp_path)


def test_secrets_inside_the_url_are_used_and_hidden(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with serve_chat([status(403, "no user:pass-word-1 with code-word-2")]) as server:
        url = server.url.replace("//", "//user:pass-word-1@") + "?api-version=1&code=code-word-2"
        said = fail(url, tmp_path, key="")
        assert server.headers[0]["path"] == "/v1/chat/completions?api-version=1&code=code-word-2"
        assert server.headers[0]["Authorization"] == "Basic dXNlcjpwYXNzLXdvcmQtMQ=="
    assert said == f"{server.url}: HTTP 403: no user:*** with ***"
    assert "pass-word-1" not in caplog.text
    assert "code-word-2" not in caplog.text


def test_a_short_key_is_hidden_only_as_a_whole_word(tmp_path):
    with serve_chat([status(404, "no such model")]) as server:
        assert fail(server.url, tmp_path, key="no").endswith("HTTP 404: *** such model")
        assert fail(server.url, tmp_path, key="mod").endswith("HTTP 404: no such model")


def test_a_proxy_that_cannot_be_used_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:pass-word-1@127.0.0.1:9")
    said = fail("http://192.0.2.1/v1", tmp_path)
    assert said.endswith(
        "the proxy that the environment names (HTTP_PROXY and the like) cannot be used"
    )


def test_a_picture_is_sent_as_jpeg():
    part = show_image(np.full((8, 8, 3), 200, np.uint8))
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
