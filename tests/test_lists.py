"""Tests which list beside a video belongs to which video."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from lct_jax.data.footage.find_videos import find_inputs
from lct_jax.data.footage.lists import CAPTION_SUFFIXES, CUTS_SUFFIX, find_list, find_strays

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("a.mp4", "a.captions.jsonl"),
        ("a.mp4", "a.mp4.captions.jsonl"),
        ("Upper.MP4", "upper.captions.csv"),
        ("upper.mp4", "UPPER.Captions.JSONL"),
        ("a.mp4", "A.MP4.captions.jsonl"),
        (f"{DECOMPOSED}.mp4", f"{COMPOSED}.captions.jsonl"),
        (f"{COMPOSED}.mp4", f"{DECOMPOSED}.captions.jsonl"),
        ("STRASSE.mkv", "straße.captions.csv"),
        ("one.two.mp4", "one.two.captions.jsonl"),
    ],
)
def test_a_list_is_found_under_every_spelling_of_the_name(tmp_path, video, name):
    put(tmp_path, video, name)
    assert find_list(tmp_path / video, CAPTION_SUFFIXES) == tmp_path / name
    assert find_strays([video, name]) == {}


def test_the_nearest_name_wins_and_a_list_has_one_owner(tmp_path):
    names = ["Film.mp4", "film.mp4", "film.captions.jsonl", "film.cuts.json", "Film.cuts.json"]
    put(tmp_path, *names)
    found = [find_list(tmp_path / name, CAPTION_SUFFIXES) for name in names[:2]]
    assert found == [None, tmp_path / "film.captions.jsonl"]
    cuts = [find_list(tmp_path / name, (CUTS_SUFFIX,)) for name in names[:2]]
    assert cuts == [tmp_path / "Film.cuts.json", tmp_path / "film.cuts.json"]


def test_an_exact_table_wins_over_lines_of_another_case(tmp_path):
    put(tmp_path, "a.mp4", "a.captions.csv", "A.captions.jsonl")
    assert find_list(tmp_path / "a.mp4", CAPTION_SUFFIXES) == tmp_path / "a.captions.csv"
    assert find_strays(["a.mp4", "a.captions.csv", "A.captions.jsonl"]) == {
        "A.captions.jsonl": "not used, a.mp4 has a.captions.csv"
    }


def test_a_list_of_no_video_is_an_input_with_a_problem(tmp_path):
    put(tmp_path, "a.mp4", "a.captions.jsonl", "b.captions.jsonl", "a.captions.csv", "b.cuts.json")
    put(tmp_path, "c.scenes.json", "notes.json")
    problems = {item.name: item.problem for item in find_inputs(tmp_path, out=tmp_path / "set")}
    none = "a list of no video, expected one of the same name beside it"
    assert problems == {
        "a.mp4": "",
        "a.captions.csv": "not used, a.mp4 has a.captions.jsonl",
        "b.captions.jsonl": none,
        "b.cuts.json": none,
        "c.scenes.json": none,
        "notes.json": "not a video by its name",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.captions.tsv", ".captions.jsonl or .captions.csv"),
        ("a.Captions.JSON", ".captions.jsonl or .captions.csv"),
        ("a.cuts.csv", ".cuts.json"),
        ("a.scenes.yaml", ".scenes.json"),
    ],
)
def test_a_list_with_another_ending_says_which_one_is_read(tmp_path, name, expected):
    (tmp_path / name).touch()
    (one,) = find_inputs(tmp_path, out=tmp_path / "set")
    assert one.problem == f"not a list by its name, expected one that ends in {expected}"


def test_a_list_that_cannot_be_opened_has_a_row(tmp_path):
    put(tmp_path, "a.mp4")
    (tmp_path / "a.captions.jsonl").symlink_to(tmp_path / "gone")
    problems = [item.problem for item in find_inputs(tmp_path, out=tmp_path / "set")]
    assert problems == ["cannot be opened (No such file or directory)", ""]


def test_a_video_in_another_folder_is_not_the_owner(tmp_path):
    (tmp_path / "sub").mkdir()
    put(tmp_path, "a.mp4", "sub/a.captions.jsonl")
    assert find_list(tmp_path / "a.mp4", CAPTION_SUFFIXES) is None
    problems = [item.problem for item in find_inputs(tmp_path, out=tmp_path / "set")]
    assert problems == ["", "a list of no video, expected one of the same name beside it"]
