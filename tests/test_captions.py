"""Tests captions: a user's lines are matched to shots, and a model's answers follow the rules of scene files."""

from __future__ import annotations

import json

import pytest

from lct_jax.data.footage.caption_files import read_lines
from lct_jax.data.footage.captions import Caption, caption_from_lines, count_unused
from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.errors import InputError


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
    nothing = caption_from_lines(lines, [(100, 120)], fps=10)
    assert nothing == Caption(None, ("",))
    unused = [count_unused(lines, found) for found in ([caption, late], [caption], [nothing], [])]
    assert unused == [0, 1, 4, 4]


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
    "\x00",
    "\x1b\x07",
    " \x9f ",
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
    half = {",": "0.5", ";": "0,5", "\t": "0,5"}[delimiter]
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
        (
            "a.captions.csv",
            "A dog, digging.\n",
            "line 1: found 'a dog', expected a header: expected",
        ),
        ("a.captions.csv", "start,promt\n0,x", "line 1: found 'promt', expected a header: did you"),
        (
            "a.captions.csv",
            "sep=;\nstart;prompt\nx;y",
            "line 3: start: found 'x', expected seconds",
        ),
        ("a.captions.jsonl", f'{{"end": 1{"0" * 400}}}', "end: found 1000000"),
        ("a.captions.jsonl", f'{{"end": 1{"0" * 5000}}}', "line 1: not JSON (Exceeds the limit"),
        ("a.captions.jsonl", "[" * 100_000, "line 1: not JSON (thousands of lists or objects lie"),
        ("a.captions.jsonl", "{\0", "begins with a NUL byte, as UTF-16 without its mark"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_lines(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert expected in str(caught.value)


def test_a_line_that_names_the_delimiter_is_no_header(tmp_path):
    path = tmp_path / "a.captions.csv"
    path.write_text("\ufeffsep=;\r\nstart;prompt\r\n0,5;One, two, three.\r\n", encoding="utf-8")
    (line,) = read_lines(path)
    assert (line.start, line.prompt) == (0.5, "One, two, three.")


def test_a_space_before_a_quote_of_a_table_is_no_text(tmp_path):
    path = tmp_path / "a.captions.csv"
    path.write_text('start, end, prompt\n0, 2.5, "A dog, digging."\n2.5, 4, "Rain."\n')
    assert [line.prompt for line in read_lines(path)] == ["A dog, digging.", "Rain."]


def test_invalid_utf8_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.captions.csv"
    path.write_bytes("prompt\nCafé".encode("latin-1"))
    with pytest.raises(
        InputError, match="line 2: byte 10 is no UTF-8 text, expected the file saved"
    ):
        read_lines(path)
