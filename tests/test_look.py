"""Tests the validation of a prepared set, and contact sheets of its arrays."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from PIL import Image
from safetensors.numpy import load, save
from tiny_film import CONFIG, TinyFilm, run_program, shared_film, write_config

from lct_jax.backbones.registry import count_costs
from lct_jax.codecs.patch import PatchCodec
from lct_jax.data.pipeline import make_source
from lct_jax.data.sets.contact_sheet import choose_shots, make_batch_rows, make_shot_rows
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.validate import find_problems
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError


@pytest.fixture
def copy(tmp_path) -> TinyFilm:
    """Returns a copy of the shared set, to be damaged."""
    shutil.copytree(shared_film().prepared, tmp_path / "set")
    return TinyFilm(tmp_path)


def change_record(film: TinyFilm, kind: str, number: int, **tensors: np.ndarray | None) -> None:
    """Writes a record again with some of its tensors replaced, or left out (None)."""
    (path,) = film.prepared.glob(f"shards/*/{kind}.array_record")
    reader = ArrayRecordReader(str(path))
    records = list(reader.read(list(range(reader.num_records()))))
    values = {**load(records[number]), **tensors}
    records[number] = save({name: x for name, x in values.items() if x is not None})
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()


# ---- validate ------------------------------------------------------------------------------------


@pytest.mark.programs
def test_a_good_set_has_no_problem():
    film = shared_film()
    assert list(find_problems(PreparedSet(film.prepared))) == []
    result = run_program("-m", "lct_jax.data.sets.validate", f"--data={film.prepared}")
    assert (result.code, result.stdout) == (0, f"{film.prepared}: 9 records, no problem\n")


def latent(value: float) -> np.ndarray:
    return np.full((3, 4, 6, 8), value, np.float16)


@pytest.mark.parametrize(
    ("kind", "number", "tensors", "expected"),
    [
        ("shots", 1, {"clip_1": None}, "shot quay/2 (record 1): clip_1: missing"),
        ("shots", 4, {"more": latent(0)}, "shot road/2 (record 4): more: not expected"),
        ("shots", 0, {"clip_0": latent(np.nan)}, "clip_0: found 576 values that are not finite"),
        ("shots", 0, {"clip_0": latent(500)}, "clip_0: found a latent of 500, expected about unit"),
        ("shots", 0, {"clip_0": latent(0)[:2]}, "clip_0: found shape (2, 4, 6, 8), expected (3, 4, "),
        ("shots", 0, {"clip_0": latent(0).astype(np.float32)}, "clip_0: found float32, expected float"),
        ("scenes", 2, {"brief": None}, "scene end (record 2): brief: missing"),
        ("scenes", 0, {"full_text": np.array([255], np.uint8)}, "full_text: found bytes that are no UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named(copy, kind, number, tensors, expected):
    change_record(copy, kind, number, **tensors)
    (problem,) = find_problems(PreparedSet(copy.prepared))
    assert expected in problem


@pytest.mark.programs
def test_all_problems_of_a_set_are_listed(copy):
    (about,) = copy.prepared.glob("shards/*/shard.json")
    values = json.loads(about.read_text())
    values["scenes"][1] = "quay"
    about.write_text(json.dumps(values))
    codec = PatchCodec.load(copy.prepared / "codec.safetensors", channels=8)
    PatchCodec(mean=codec.mean + 1, basis=codec.basis, scale=codec.scale).save(
        copy.prepared / "codec.safetensors"
    )
    (path,) = copy.prepared.glob("shards/*/shots.array_record")
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)
    problems = list(find_problems(PreparedSet(copy.prepared)))
    assert problems[0] == "scene quay: the name is there 2 times"
    assert "codec.safetensors: found codec patch-4x8x8x8" in problems[1]
    assert problems[2].startswith(f"shot quay/1 (record 0): {path}: record 0 is damaged (")
    assert len(problems) == 3
    result = run_program("-m", "lct_jax.data.sets.validate", f"--data={copy.prepared}")
    assert result.code == 2
    assert result.stderr.splitlines()[-1] == f"error: {copy.prepared}: 3 problems, expected none"


# ---- contact sheets ------------------------------------------------------------------------------


def test_shots_are_shown_as_their_records_decode():
    prepared = PreparedSet(shared_film().prepared)
    codec = PatchCodec.load(prepared.folder / "codec.safetensors", channels=8)
    rows = make_shot_rows(prepared, [0, 4])
    expected = codec.decode(prepared.read_latent(4, clip=0, still=None))
    np.testing.assert_array_equal(rows[1].frames, expected)
    assert rows[0].prompt.startswith(
        "[SHOT CUT] Character 1 waits.  |  quay/1: 2 clips, latent 3x4x6, "
    )
    assert [row.cut for row in rows] == [True, False]


def test_shots_are_named_or_drawn():
    prepared = PreparedSet(shared_film().prepared)
    assert choose_shots(prepared, ["end/1", "quay/2"], count=9, seed=0) == [5, 1]
    drawn = choose_shots(prepared, [], count=3, seed=1)
    assert len(set(drawn)) == 3
    assert choose_shots(prepared, [], count=99, seed=1) == list(range(6))
    with pytest.raises(InputError, match=r"--shots: found 'x', expected a shot such as 'quay/1'"):
        choose_shots(prepared, ["x"], count=1, seed=0)


def test_a_sheet_of_a_batch_shows_its_packed_tokens():
    prepared = PreparedSet(shared_film().prepared)
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, drop_text=0.3))
    codec = PatchCodec.load(prepared.folder / "codec.safetensors", channels=8)
    encoder, dropped, shown = StandInEncoder(16), 0, 0
    for number in range(4):
        rows = make_batch_rows(prepared, config, number, rows=2)
        plan = make_source(prepared, config, count_costs(config.network)).planner.batch(number)
        draws = [(sample, draw) for row in plan for sample in row for draw in sample.shots]
        for row, (sample, draw) in zip(rows, draws, strict=True):
            kept = prepared.read_latent(draw.shot, clip=draw.clip, still=draw.still)
            np.testing.assert_array_equal(row.frames, codec.decode(kept))
            text = row.prompt.split("  |  ")[0]
            assert "(tokens of no text" not in row.prompt
            assert ("global prompt" in row.prompt) == (
                sample.scene is not None and draw is sample.shots[0]
            )
            if sample.written:
                tokens = encoder.encode([text])[0].astype(np.float16)
                np.testing.assert_array_equal(prepared.read_prompt(draw.shot), tokens)
            dropped += not sample.written
            shown += sample.written
            assert sample.written == (text != "(empty prompt)")
    assert dropped
    assert shown


@pytest.mark.programs
def test_a_sheet_is_written(tmp_path):
    film = shared_film()
    write_config(tmp_path / "config.py")
    flags = [
        f"--data={film.prepared}",
        f"--config={tmp_path / 'config.py'}",
        "--batch=1",
        "--rows=1",
    ]
    result = run_program(
        "-m", "lct_jax.data.sets.contact_sheet", *flags, f"--out={tmp_path / 'sheet.png'}"
    )
    assert result.code == 0, result.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 2400
