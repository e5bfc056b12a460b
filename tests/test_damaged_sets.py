"""A prepared set that is unfinished or damaged is refused in one line that names the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_records import INFO, SCENES

from lct_jax.data.sets.checksums import SUMS_FILE
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.data.sets.record_files import INDEX_FILE
from lct_jax.data.sets.records import PreparedSet, write_set
from lct_jax.data.sets.validate import find_problems
from lct_jax.errors import InputError
from lct_jax.tensors import save_tensors


@pytest.fixture
def folder(tmp_path) -> Path:
    write_set(tmp_path / "set", SCENES, info=INFO, credit="Tiny by us")
    return tmp_path / "set"


def refusal(folder: Path) -> str:
    """Returns the error of opening a set and reading all of it."""
    with pytest.raises(InputError) as caught:
        prepared = PreparedSet(folder)
        for shot in range(len(prepared.lengths.shot_text)):
            prepared.read_prompt(shot)
        for scene in range(len(prepared.lengths.scene_split)):
            prepared.read_global(scene, story=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_no_set_is_refused(tmp_path):
    expected = f"{tmp_path}/card.json: not found, expected a set made by lct_jax.data.prepare"
    assert refusal(tmp_path) == expected


def test_a_set_without_its_card_is_unfinished(folder):
    (folder / "card.json").unlink()
    assert refusal(folder) == (
        f"{folder}/card.json: not found, expected a set made by lct_jax.data.prepare: "
        "the preparation did not finish or the set is damaged, prepare it again"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "found format None, expected 'lct_jax.records/2'"),
        ('{"format": "lct_jax.records/9"}', "found format 'lct_jax.records/9'"),
        ('{"format": "lct_jax.records/2", "codec": ""}', "missing or unknown keys: aspect_error, "),
    ],
)
def test_an_invalid_card_is_refused(folder, text, expected):
    (folder / "card.json").write_text(text)
    assert refusal(folder).startswith(f"{folder}/card.json: {expected}")


@pytest.mark.parametrize("kind", ["shots", "scenes"])
def test_records_that_are_missing_or_cut_short_are_refused(folder, kind):
    path = folder / "shards" / "all" / f"{kind}.array_record"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        expected = f"{path}: found {len(content)} bytes, expected {len(whole)}: the preparation did"
        assert refusal(folder).startswith(expected)
    path.unlink()
    assert refusal(folder).startswith(f"{path}: not found: the preparation did not finish")


@pytest.mark.parametrize("kind", ["shots", "scenes"])
def test_records_of_a_set_without_an_index_are_counted(folder, kind):
    """Such sets were written before there were indexes."""
    (folder / INDEX_FILE).unlink()
    (folder / SUMS_FILE).unlink()
    PreparedSet(folder).read_shot(2)
    path = folder / "shards" / "all" / f"{kind}.array_record"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", None):
        path.unlink() if content is None else path.write_bytes(content)
        count = {"shots": 3, "scenes": 2}[kind]
        expected = f"{path}: found 0 {kind} in the set, expected {count}: the preparation did not"
        assert refusal(folder).startswith(expected)


def test_an_index_of_other_shards_is_refused(folder):
    columns = load_file(folder / INDEX_FILE)
    save_tensors(
        folder / INDEX_FILE, {name: np.append(value, 1) for name, value in columns.items()}
    )
    expected = f"{folder / INDEX_FILE}: found 2 shards, expected 1: the preparation did not"
    assert refusal(folder).startswith(expected)


@pytest.mark.parametrize("kind", ["shots", "scenes"])
def test_a_damaged_record_is_refused(folder, kind):
    path = folder / "shards" / "all" / f"{kind}.array_record"
    content = bytearray(path.read_bytes())
    for place in range(200, 240):  # within the first record
        content[place] ^= 0xFF
    path.write_bytes(content)
    assert refusal(folder).startswith(f"{path}: record 0 is damaged (")


@pytest.mark.parametrize("name", ["lengths", "empty"])
def test_tables_that_are_missing_or_damaged_are_refused(folder, name):
    path = folder / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert refusal(folder).startswith(f"{path}: cannot be read (")
    path.unlink()
    assert refusal(folder).startswith(f"{path}: cannot be read (")


@pytest.mark.parametrize("name", ["lengths", "empty", "shards"])
def test_a_changed_bit_of_a_table_is_refused(folder, name):
    path = folder / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # in the last number, of 4 or 8 bytes
    path.write_bytes(content)
    assert refusal(folder).startswith(str(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"film": "a"}', b"\xff"])
def test_names_that_are_damaged_are_refused(folder, content):
    path = folder / "shards" / "all" / "shard.json"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"shard\.json: cannot be read .*: the preparation did not"
    ):
        list(find_problems(PreparedSet(folder)))


def test_a_table_without_a_column_is_refused(folder):
    path = folder / "lengths.safetensors"
    columns = load_file(path)
    (folder / "empty.safetensors").replace(path)
    assert refusal(folder).startswith(f"{path}: cannot be read ('scene_split')")
    assert set(columns) == {field.name for field in dataclasses.fields(LengthTable)}
