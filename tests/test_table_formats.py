"""Tests the tables of other projects: scenes as rows that name files of captions."""

from __future__ import annotations

import json

import pytest
from test_formats import SCRIPT, TEXTS, lengths_of, texts_of

from lct_jax.directing.formats import (
    read_table,
    write_table,
)
from lct_jax.directing.prompts import ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError


@pytest.mark.parametrize(
    ("layout", "header", "row", "first"),
    [
        (
            "shotstream",
            "shot_num_from_caption,json_path,frame_number",
            '3,{}.captions.json,"[[0, 37], [37, 78], [78, 99]]"',
            "shot1",
        ),
        (
            "multishotmaster",
            "gemini_caption,shot_groups",
            '{}.captions.json,"[[0, 37], [37, 78], [78, 99]]"',
            "shot0",
        ),
    ],
)
def test_a_table_is_written_and_read(tmp_path, layout, header, row, first):
    files, notes = write_table(SCRIPT, "bakery", layout=layout)
    assert files["bakery.csv"] == f"{header}\n{row.format('bakery')}\n"
    captions = json.loads(files["bakery.captions.json"])
    assert list(captions)[:2] == ["global_caption", first]
    assert notes[0] == f"place: of shots 1, 2, 3: has no place in {layout}"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ((script, notes),) = read_table(tmp_path / "bakery.csv")
    assert (texts_of(script), lengths_of(script)) == (TEXTS, [37, 41, 21])
    assert (script.prompt, notes) == (SCRIPT.prompt, ())


def test_a_table_of_several_scenes_names_files_from_a_folder_above(tmp_path):
    folder = tmp_path / "demo/testdata"
    folder.mkdir(parents=True)
    for name in "ab":
        captions = {"global_caption": "A quay.", "shot1": f"{name}.", "shot2": "A gull."}
        (folder / f"{name}.json").write_text(json.dumps({"video_path": "x.mp4", **captions}))
    rows = [f'2,demo/testdata/{name}.json,x.mp4,"[[0, 56], [60, 81]]"' for name in "ab"]
    table = folder / "set.csv"
    table.write_text(
        "\n".join(["shot_num_from_caption,json_path,video_path,frame_number", *rows]) + "\n"
    )
    found = list(read_table(table))
    assert [texts_of(script) for script, _ in found] == [["a.", "A gull."], ["b.", "A gull."]]
    assert lengths_of(found[0].script) == [57, 21]
    assert found[0].notes == (
        "line 2: video_path: has no place in a script",
        "line 2: global_caption: is one text, and stands whole in the environment",
        "line 2: frames: shots of 56, 21 frames last 57, 21, which are 4n + 1 here",
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "found no row, expected one a scene"),
        ("gone.json,", "line 2: 'gone.json': no such file, from here or from the folders"),
        (" ", "line 2: ' ': no such file"),
        ("a.csv,", "line 2: Expecting value"),
        ("b.json,", "b.json: not UTF-8 text (byte 20)"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, rows, said):
    table = tmp_path / "a.csv"
    table.write_text(f"json_path,frame_number\n{rows}")
    (tmp_path / "b.json").write_bytes(b'{"global_caption": "\xe9"}')
    with pytest.raises(InputError) as caught:
        list(read_table(table))
    assert str(caught.value).startswith(f"{table}: ") and said in str(caught.value)


def test_more_columns_than_a_table_has_are_named(tmp_path):
    (tmp_path / "a.json").write_text('{"shot1": "A gull."}')
    (tmp_path / "a.csv").write_text("json_path,frame_number\na.json,,x,y\n")
    ((_, notes),) = read_table(tmp_path / "a.csv")
    assert notes == ("line 2: more columns than the table: has no place in a script",)


def test_shots_without_a_length_get_one_in_a_table():
    script = Script(None, (ShotPrompt("A gull lands."),))
    files, notes = write_table(script, "x", layout="shotstream")
    assert "[[0, 81]]" in files["x.csv"]
    assert notes == ("frames: shots 1 have none and get 81",)
