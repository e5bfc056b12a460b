"""Tests finding JSON in what a language model writes."""

from __future__ import annotations

import pytest

from lct_jax.chat import parse_json
from lct_jax.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '  {"a": 1}\n',
        '```json\n{"a": 1}\n```',
        '```JSON {"a": 1} ```',
        '~~~\n{"a": 1}\n~~~',
        'First:\n```\n{"a": 0}\n```\nBetter:\n```\n{"a": 1}\n```',
        '<think>{"a": 0}</think>```json\n{"a": 1}\n```',
        '<Thinking>Hm.</Thinking> So {"a": 1}.',
        'I think of {x: y}, so {"a": 1}',
        '{"a": 0} or rather {"a": 1}',
        '[{"a": 1}]',
        '"{\\"a\\": 1}"',
    ],
)
def test_json_is_found(text):
    assert parse_json(text) == {"a": 1}


def test_an_object_inside_of_one_that_is_cut_off_is_not_the_answer():
    for text in ('{"a": {}, "b": ["x', '{"a": {"b": 1}, ', 'Well: {"a": {"b": 1}'):
        with pytest.raises(InputError, match="it is not JSON"):
            parse_json(text)


def test_an_object_inside_of_one_with_a_mistake_is_not_the_answer():
    for text in ('{"a": {}, "b": 1,}', 'So: {"a": {"b": 1} "c": 2} is it'):
        with pytest.raises(InputError, match="it is not JSON"):
            parse_json(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, 'So: {"a":' + "[" * 100_000])
def test_endless_nesting_is_refused(text):
    with pytest.raises(InputError, match="it is not JSON"):
        parse_json(text)


@pytest.mark.parametrize("before", ["", "So: "])
def test_a_number_of_thousands_of_digits_is_refused(before):
    with pytest.raises(InputError, match="it is not JSON"):
        parse_json(f'{before}{{"a": {"9" * 10_000}}}')


def test_line_breaks_inside_of_texts_are_read():
    assert parse_json('{"a": "one\ntwo\u2028three"}') == {"a": "one\ntwo\u2028three"}


def test_fences_and_tags_within_json_texts_are_kept():
    text = '{"a": "```{}```</think>"}'
    assert parse_json(text) == {"a": "```{}```</think>"}


def test_a_key_that_is_written_twice_is_refused():
    with pytest.raises(InputError, match="key '1' is written twice"):
        parse_json('{"characters": {"1": "a", "1": "b"}}')


def test_half_of_a_surrogate_pair_is_refused():
    with pytest.raises(InputError, match="half of a surrogate pair stands behind '\\[\"A dog '"):
        parse_json('["A dog \\ud83d"]')


def test_prose_alone_is_refused():
    with pytest.raises(InputError, match="it is not JSON"):
        parse_json("I cannot see any picture.")
