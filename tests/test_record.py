"""The manifest of a folder of sampled shots: what it keeps, and what it refuses to mix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lct_jax.errors import InputError
from lct_jax.media.storyboard import describe_numbers
from lct_jax.scene_files.record import (
    MANIFEST,
    Redo,
    SceneRecord,
    Take,
    find_difference,
    name_take,
)

MADE = {
    "script": {"shots": [{"prompt": "Rain."}, {"prompt": "Sun."}]},
    "mode": "joint",
    "key": [0, 3],
}


def open_record(folder: Path, **changes: object) -> SceneRecord:
    return SceneRecord.open(folder, {**MADE, **changes}, {"jax": "1"})


def test_takes_are_kept_and_the_last_one_is_chosen(tmp_path):
    record = open_record(tmp_path)
    latents = [np.full((1, 2, 2, 3), n, np.float32) for n in range(3)]
    record.add(1, latents[0], Take(saw=()))
    record.add(2, latents[1], Take(saw=(1,)))
    record.redos.append(Redo((1,), 7, {2: 1}))
    record.add(1, latents[2], Take(saw=(2,), redo=0))
    again = SceneRecord.read(tmp_path / MANIFEST)
    assert again == record
    assert again.chosen == {1: 2, 2: 1}
    assert again.takes[1] == [Take(()), Take((2,), 0)]
    assert again.find_redo(0) == {1: 2}
    for number, take, expected in ((1, 1, 0), (2, 1, 1), (1, 2, 2)):
        np.testing.assert_array_equal(again.load(number, take), latents[expected])
    assert sorted(path.name for path in (tmp_path / "latents").iterdir()) == [
        "shot_01.safetensors",
        "shot_01.take_02.safetensors",
        "shot_02.safetensors",
    ]


def test_the_latent_of_a_shot_is_on_disk_before_the_manifest_names_it(tmp_path, monkeypatch):
    record = open_record(tmp_path)
    monkeypatch.setattr(record, "write", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record.add(1, np.zeros((1, 2, 2, 3), np.float32), Take(()))
    assert record.path(1, 1).exists()
    assert SceneRecord.read(tmp_path / MANIFEST).takes == {}


def test_the_same_is_gone_on_with_and_something_else_refused(tmp_path):
    open_record(tmp_path).add(1, np.zeros((1, 2, 2, 3), np.float32), Take(()))
    assert open_record(tmp_path).takes == {1: [Take(())]}
    script = {"shots": [{"prompt": "Rain."}, {"prompt": "Fog."}]}
    with pytest.raises(InputError) as caught:
        open_record(tmp_path, script=script)
    assert str(caught.value) == (
        f'{tmp_path / MANIFEST}: script.shots[1].prompt: was sampled with "Sun.", found "Fog.", '
        "expected the same, or another folder"
    )


def test_a_chosen_take_that_is_not_there_is_refused(tmp_path):
    open_record(tmp_path).add(1, np.zeros((1, 2, 2, 3), np.float32), Take(()))
    path = tmp_path / MANIFEST
    values = json.loads(path.read_text())
    values["shots"]["1"]["chosen"] = 2
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"shots\.1\.chosen: found 2, expected 1 to 1$"):
        SceneRecord.read(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not a manifest of sampled shots"),
        ("[]", "not a manifest of sampled shots"),
        ('{"format": "x"}', "format: found 'x', expected 'lct_jax.sample/1'"),
        ('{"format": "lct_jax.sample/1"}', "not a manifest of sampled shots ('shots')"),
        (None, "no such file, expected a folder that was sampled into"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, text, expected):
    path = tmp_path / MANIFEST
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        SceneRecord.read(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 1.0}, ("a", "1", "1.0")),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ("a.b[1]", "2", "3")),
        ({"a": [1]}, {"a": [1, 2]}, ("a", "[1]", "[1, 2]")),
        ({"a": 1}, {"b": 1}, ("a", "1", "null")),
    ],
)
def test_the_first_difference_is_named(before, now, expected):
    assert find_difference(before, now) == expected


def test_takes_and_runs_of_shots_are_named():
    assert [name_take(3, take) for take in (1, 2)] == ["shot_03", "shot_03.take_02"]
    assert describe_numbers((5, 1, 2, 3, 7, 8)) == "1-3, 5, 7, 8"
