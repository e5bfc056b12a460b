"""Tests that the key and the passwords of an endpoint are read, used, and shown nowhere."""

from __future__ import annotations

import logging

import pytest
from chat_asks import ASKED, KEY, count, fail, make_chat
from chat_server import (
    answer,
    body,
    serve_chat,
    status,
    stream_of,
)

from lct_jax.chat import ChatError, endpoint_from_environment
from lct_jax.chat.endpoint import make_endpoint
from lct_jax.errors import InputError


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
    reason = {"message": f"wrong key {KEY}, header b'Bearer {KEY}'"}
    with serve_chat([status(code, reason, X_Key=KEY)]) as server:
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
