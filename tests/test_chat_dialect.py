"""Tests what the chat client leaves out of requests once an endpoint has refused it."""

from __future__ import annotations

import numpy as np
import pytest
from chat_asks import ASKED, count, count_pictures, fail, make_chat, show_pictures
from chat_server import (
    answer,
    serve_chat,
    status,
    unless,
)

from lct_jax.chat import ChatError, show_image


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


def test_a_picture_is_sent_as_jpeg():
    part = show_image(np.full((8, 8, 3), 200, np.uint8))
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
