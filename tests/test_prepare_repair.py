"""Tests that the same command repairs damaged sets, and that films that fail do not stop the others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from footage_files import draw_shots, write_footage
from tiny_film import CONFIG, make_tiny_film, run_program, write_config

from lct_jax.data.prepare import prepare_scene_file, prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.data.sets import shards
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.shard_check import find_damage
from lct_jax.data.sets.validate import find_problems
from lct_jax.errors import InputError
from lct_jax.folder_lock import lock_folder


@pytest.fixture
def film(tmp_path):
    return make_tiny_film(tmp_path)


def read_set(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def flip(path: Path, near: bytes = b"Rain on the quay.") -> None:
    """Changes one bit of a record, because the rest of so small a file is padding."""
    data = bytearray(path.read_bytes())
    data[data.index(near)] ^= 1
    path.write_bytes(data)


def flip_last(path: Path) -> None:
    """Changes one bit of the last number of a table."""
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "lost records": ("shards/*/shots.array_record", Path.unlink),
    "empty records": ("shards/*/scenes.array_record", lambda path: path.write_bytes(b"")),
    "cut records": (
        "shards/*/shots.array_record",
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    ),
    "flipped byte": ("shards/*/shots.array_record", flip),
    "lost names": ("shards/*/shard.json", Path.unlink),
    "cut names": ("shards/*/shard.json", lambda path: path.write_text("{")),
    "lost shard lengths": ("shards/*/lengths.safetensors", Path.unlink),
    "lost lengths": ("lengths.safetensors", Path.unlink),
    "lost empty prompt": ("empty.safetensors", Path.unlink),
    "lost codec": ("codec.safetensors", Path.unlink),
    "lost card": ("card.json", Path.unlink),
    "flipped bit of the card": ("card.json", lambda path: flip(path, b"CC0")),
    "flipped bit of the lengths": ("lengths.safetensors", flip_last),
    "flipped bit of the empty prompt": ("empty.safetensors", flip_last),
    "flipped bit of the index": ("shards.safetensors", flip_last),
    "flipped bit of a shard's lengths": ("shards/*/lengths.safetensors", flip_last),
    "flipped bit of names": ("shards/*/shard.json", lambda path: flip(path, b"quay")),
    "cut checksums": ("checksums.json", lambda path: path.write_text("{")),
    "names of shards that are no text": ("source.json", lambda path: path.write_bytes(b"\xff\xfe")),
    "cut card": ("card.json", lambda path: path.write_text("{")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_parts_of_a_set_are_made_again(film, given, kind):
    assert prepare_scene_file(film.scenes, film.prepared, given)
    assert not prepare_scene_file(film.scenes, film.prepared, given)
    whole = read_set(film.prepared)
    pattern, damage = DAMAGE[kind]
    (path,) = film.prepared.glob(pattern)
    damage(path)
    assert prepare_scene_file(film.scenes, film.prepared, given)
    assert list(find_problems(PreparedSet(film.prepared))) == []
    assert read_set(film.prepared) == whole


def test_damage_of_a_shard_is_named(film, given):
    film.prepare(given)
    (shard,) = (film.prepared / "shards").iterdir()
    assert find_damage(shard) is None
    flip(shard / "shots.array_record")
    assert str(find_damage(shard)).startswith(f"{shard}")
    (shard / "lengths.safetensors").unlink()
    assert "lengths.safetensors: cannot be read" in str(find_damage(shard))


def test_a_second_preparation_is_refused_before_it_touches_anything(film, given):
    film.prepare(given)
    before = read_set(film.prepared)
    with (
        lock_folder(film.prepared, doing="x"),
        pytest.raises(InputError, match=r"another process .* is preparing into this"),
    ):
        prepare_scene_file(film.scenes, film.prepared, given)
    assert read_set(film.prepared) == before


# ---- films that fail -----------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path) -> Path:
    """Returns a folder with two good videos."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, seed in (("a", 20), ("b", 21)):
        write_footage(folder / f"{name}.mp4", draw_shots((20, 20), height=32, width=48, seed=seed))
        (folder / f"{name}.captions.jsonl").write_text(json.dumps({"prompt": "A square."}))
    return folder


def test_results_of_stages_that_were_damaged_are_made_again(videos, given, tmp_path):
    out = tmp_path / "set"
    prepare_videos(videos, out, given, runner=run_here)
    whole = read_set(out)
    names = [name for name in whole if "report" not in name]
    for damage in (lambda data: data[:7], lambda _: b'{"x": 1}'):
        for path in (out / "work").rglob("*.*"):
            path.write_bytes(damage(path.read_bytes()))
        report = prepare_videos(videos, out, given, runner=run_here)
        assert [row.outcome for row in report.rows] == ["prepared"] * 2
        assert {n: read_set(out)[n] for n in names} == {n: whole[n] for n in names}


def test_a_folder_of_videos_that_was_moved_is_prepared_already(videos, given, tmp_path):
    prepare_videos(videos, tmp_path / "set", given, runner=run_here)
    shards = read_set(tmp_path / "set" / "shards")
    moved = videos.rename(tmp_path / "elsewhere")
    report = prepare_videos(moved, tmp_path / "set", given, runner=run_here)
    assert [row.outcome for row in report.rows] == ["prepared"] * 2
    assert read_set(tmp_path / "set" / "shards") == shards


def test_an_unexpected_error_is_reported_in_the_row_of_its_film(
    videos, given, tmp_path, monkeypatch
):
    import lct_jax.data.footage.stages as module

    good = module.track_video

    def track(path, *args, **options):
        found = good(path, *args, **options)
        assert len(found[0].light) == 40
        return found

    monkeypatch.setattr(module, "track_video", track)
    write_footage(videos / "c.mp4", draw_shots((20, 21), height=32, width=48, seed=22))
    report = prepare_videos(videos, tmp_path / "set", given, runner=run_here)
    assert [row.outcome for row in report.rows] == ["prepared", "prepared", "set aside"]
    assert report.rows[2].why.startswith("failed unexpectedly: AssertionError")
    assert report.count("encode") == 2
    assert PreparedSet(tmp_path / "set").card.counts["train"]["films"] == 1


def test_a_full_disk_is_the_reason_of_each_film_that_it_stops(videos, given, tmp_path, monkeypatch):
    class FullDisk(shards.ArrayRecordWriter):
        def write(self, record):
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 9")

    monkeypatch.setattr(shards, "ArrayRecordWriter", FullDisk)
    report = prepare_videos(videos, tmp_path / "set", given, runner=run_here)
    for row in report.rows:
        assert row.outcome == "set aside"
        assert row.why.startswith(f"{tmp_path}/set/shards/")
        assert row.why.endswith(": cannot be written: write() failed: No space left on device")
    assert list((tmp_path / "set" / "shards").iterdir()) == []


def test_the_shard_of_an_unreadable_film_is_kept(videos, given, tmp_path):
    out = tmp_path / "set"
    given = dataclasses.replace(given, footage=dataclasses.replace(given.footage, held_out=0.0))
    prepare_videos(videos, out, given, runner=run_here)
    shards = {path.name for path in (out / "shards").iterdir()}
    whole = (videos / "b.mp4").read_bytes()
    (videos / "b.mp4").write_bytes(b"")
    report = prepare_videos(videos, out, given, runner=run_here)
    assert [row.outcome for row in report.rows] == ["prepared", "set aside"]
    assert shards <= {path.name for path in (out / "shards").iterdir()}
    (videos / "b.mp4").write_bytes(whole)
    prepare_videos(videos, out, given, runner=run_here)
    assert {path.name for path in (out / "shards").iterdir()} == shards


def test_a_film_that_cannot_be_read_for_the_fit_is_reported_in_its_row(tmp_path):
    """The film has its own scene file, so nothing reads its truncated end before the fit."""
    folder = tmp_path / "videos"
    folder.mkdir()
    tiny = make_tiny_film(folder)
    tiny.config.unlink()
    tiny.scenes.rename(folder / "film.scenes.json")
    frames = draw_shots((20, 21), height=32, width=48, seed=22)
    write_footage(folder / "good.mp4", frames)
    (folder / "good.captions.jsonl").write_text(json.dumps({"prompt": "A square."}))
    data = bytearray((folder / "film.mp4").read_bytes())
    place = data.index(b"mdat")
    data[place + 2000 :] = bytes(len(data) - place - 2000) if data.index(b"moov") < place else data
    (folder / "film.mp4").write_bytes(data)
    config = dataclasses.replace(CONFIG, footage=dataclasses.replace(CONFIG.footage, held_out=0.0))
    bad, good = prepare_videos(folder, tmp_path / "set", config, runner=run_here).rows
    assert (bad.name, bad.outcome) == ("film.mp4", "set aside")
    assert (good.name, good.outcome) == ("good.mp4", "prepared")


@pytest.mark.slow
def test_the_exit_code_says_whether_anything_is_left(tmp_path):
    folder, config = tmp_path / "videos", tmp_path / "config.py"
    folder.mkdir()
    write_config(config, CONFIG)
    (folder / "empty.mp4").touch()
    flags = [
        f"--videos={folder}",
        f"--config={config}",
        f"--out={tmp_path / 'set'}",
        "--processes=1",
    ]
    result = run_program("-m", "lct_jax.data.prepare", *flags)
    assert result.code == 2
    assert "set aside    empty.mp4" in result.stdout
    assert result.stderr.splitlines()[-1] == (
        f"error: {folder}: no video is left, see report.json in {tmp_path / 'set'} for why"
    )
    assert not (tmp_path / "set" / "card.json").exists()
    write_footage(folder / "good.mp4", draw_shots((20, 21), height=32, width=48, seed=22))
    assert run_program("-m", "lct_jax.data.prepare", *flags, "--until=takes").code == 0
    assert run_program("-m", "lct_jax.data.prepare", *flags).code == 2  # no caption exists
