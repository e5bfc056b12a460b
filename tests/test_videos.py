"""Tests a folder with every kind of footage: nothing stops the command, and every file has a row."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from footage_files import draw_shots, turn, write_footage, write_sound
from tiny_film import (
    CONFIG,
    describe_scenes,
    make_tiny_film,
    run_program,
    write_config,
    write_json,
)

from lct_jax.config import Config
from lct_jax.data.footage.report import Report, choose_splits
from lct_jax.data.prepare import prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.validate import find_problems
from lct_jax.errors import InputError

HERE = run_here
AREA = dataclasses.replace(CONFIG.prepare, height=96, width=96)  # 4:1 is 48 x 192
FOOTAGE = dataclasses.replace(CONFIG, prepare=AREA)
NAMED = 'it\'s "a" fïlm, 映画.mp4'


def write_videos(folder: Path) -> dict[str, Path]:
    """Writes good videos of many kinds, by name."""
    folder.mkdir()
    plain = partial(draw_shots, (14, 12))
    variable = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.15, 26))
    alpha = np.concatenate([plain(seed=8), np.full((26, 48, 64, 1), 128, np.uint8)], axis=-1)
    write_footage(folder / "five.mp4", draw_shots((8, 7), seed=1), fps=5)
    write_footage(folder / "sixty.mp4", draw_shots((70, 60), seed=2, drift=0.4), fps=60)
    write_footage(folder / "variable.mkv", plain(seed=3), times=variable.tolist())
    turn(write_footage(folder / "rotated.mp4", plain(seed=4)))
    write_footage(folder / "odd.mp4", plain(seed=5, height=45, width=63), pix_fmt="yuv444p")
    write_footage(folder / "wide.mp4", plain(seed=6, height=32, width=128))
    write_footage(folder / "tall.mp4", plain(seed=7, height=128, width=32))
    write_footage(folder / "alpha.mov", alpha, codec="qtrle", pix_fmt="argb")
    write_footage(folder / "ten_bit.mkv", plain(seed=9), pix_fmt="yuv420p10le")
    write_footage(folder / NAMED, plain(seed=10))
    good = {path.name: path for path in folder.iterdir()}
    for path in good.values():
        line = {"prompt": f"What is seen in {path.suffix}."}
        path.with_name(path.stem + ".captions.jsonl").write_text(json.dumps(line))
    return good


def write_hostile(folder: Path) -> dict[str, str]:
    """Writes files that cannot be prepared, and returns the beginning of each reason."""
    whole = write_footage(folder / "cut_off.mp4", draw_shots((14, 12), seed=11))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 2 // 3])
    (folder / "empty.mp4").touch()
    write_sound(folder / "sound.mp4")
    write_footage(folder / "one_frame.mp4", draw_shots((1,), seed=12))
    (folder / "text.mp4").write_text("I am a film.\n")
    (folder / "notes.txt").write_text("Buy milk.\n")
    (folder / "round").symlink_to(".")
    (folder / "self.mp4").symlink_to("self.mp4")
    shutil.copy(folder / "wide.mp4", folder / "again.mp4")  # the first by name, without captions
    where = f"{folder}/"
    return {
        "cut_off.mp4": f"{where}cut_off.mp4: ",
        "empty.mp4": f"{where}empty.mp4: is empty (0 bytes)",
        "sound.mp4": f"{where}sound.mp4: has no video stream",
        "one_frame.mp4": "",
        "text.mp4": f"{where}text.mp4: not a readable video",
        "notes.txt": "not a video by its name",
        "round": "a link to a folder that is looked at already",
        "self.mp4": "cannot be opened (Too many levels of symbolic links)",
        "again.mp4": "the same content as wide.mp4",
    }


def read_rows(out: Path) -> Mapping[str, Mapping[str, object]]:
    return {row["name"]: row for row in json.loads((out / "report.json").read_text())["inputs"]}


def prepare_here(folder: Path, out: Path, config: Config, **options: str) -> Report:
    return prepare_videos(folder, out, config, runner=HERE, **options)


@pytest.mark.programs
def test_bad_files_lose_no_good_video_and_every_file_has_a_row(tmp_path):
    folder, out = tmp_path / "videos", tmp_path / "set"
    good = write_videos(folder)
    bad = write_hostile(folder)
    write_config(tmp_path / "config.py", FOOTAGE)
    flags = {"videos": folder, "config": tmp_path / "config.py", "out": out, "processes": 2}
    command = [
        "-m",
        "lct_jax.data.prepare",
        *(f"--{name}={value}" for name, value in flags.items()),
    ]
    result = run_program(*command)
    assert result.code == 0, result.stderr
    rows = read_rows(out)
    assert rows.keys() == good.keys() | bad.keys()
    assert {name: rows[name]["outcome"] for name in good} == dict.fromkeys(good, "prepared")
    for name, why in bad.items():
        assert rows[name]["outcome"] == ("nothing left" if name == "one_frame.mp4" else "set aside")
        assert rows[name]["why"].startswith(why)
        assert name in result.stdout
    assert rows["one_frame.mp4"]["shots"]["too short"] == 1
    prepared = PreparedSet(out)
    assert list(find_problems(prepared)) == []
    sizes = {about.film: about.size for about in prepared.abouts}
    assert sizes["wide.mp4"] == (48, 192)
    assert sizes["tall.mp4"] == (192, 48)
    assert sizes["rotated.mp4"] == (112, 80)  # 64 x 48 upright, in multiples of 16
    assert prepared.card.aspect_error == max(about.aspect_error for about in prepared.abouts) < 0.1
    frames = {about.film: sum(about.frames) for about in prepared.abouts}
    assert frames["five.mp4"] == 36  # 15 frames at 5 a second last 3 s
    assert frames["sixty.mp4"] == 26
    assert frames["wide.mp4"] == 26
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if "shards" in str(path)}
    prepare_here(folder, out, FOOTAGE)
    assert {path: path.stat().st_mtime_ns for path in before} == before


# ---- stages and lists beside a video -------------------------------------------------------------


@pytest.fixture
def film(tmp_path) -> Path:
    """Returns a folder with one video of three shots of 20 frames."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_footage(folder / "a.mp4", draw_shots((20, 20, 20), height=32, width=48, seed=20))
    return folder


def test_stages_run_alone_and_resume(film, given, tmp_path):
    out = tmp_path / "set"
    write_json(film / "a.captions.jsonl", {"prompt": "A square."})
    assert prepare_here(film, out, given, until="takes").rows[0].outcome == "looked at"
    (takes,) = out.glob("work/*/takes-*")
    made = takes.stat().st_mtime_ns
    assert prepare_here(film, out, given, until="scenes").rows[0].outcome == "ready"
    assert not (out / "card.json").exists()
    assert prepare_here(film, out, given).rows[0].outcome == "prepared"
    assert takes.stat().st_mtime_ns == made
    assert PreparedSet(out).card.counts["train"]["shots"] == 3


def test_shots_without_a_caption_are_counted_and_left_out(film, given, tmp_path):
    lines = [
        {"start": 0, "end": 1.6, "prompt": "Character 1 waits."},
        {"start": 1.7, "end": 3.3, "prompt": "Character 2 waits."},
        {"start": 3.4, "end": 9, "prompt": "[SHOT CUT] Character 1 waits."},
        {"start": 0, "end": 9, "characters": {"1": "A dog."}, "environment": "A yard."},
    ]
    (film / "a.captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = prepare_here(film, tmp_path / "set", given)
    reasons = ("kept", "caption names nobody described", "caption writes the tag of a cut")
    expected = dict.fromkeys(reasons, 1)
    assert {key: n for key, n in report.rows[0].shots.items() if n} == expected
    prepared = PreparedSet(tmp_path / "set")
    assert prepared.read_shot(0)["text"].tobytes() == b"[SHOT CUT] Character 1 waits."
    text = prepared.read_scene(0)["full_text"].tobytes()
    assert text == b"Character 1: A dog. Environment: A yard."


def test_the_rest_of_a_take_without_its_first_part_has_no_tag(given, tmp_path):
    """One take of 150 frames has two parts, of which the first has no caption: no cut precedes the second."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_footage(folder / "a.mp4", draw_shots((150,), height=32, width=48, drift=0.2))
    write_json(folder / "a.captions.jsonl", {"start": 6.5, "end": 12.5, "prompt": "A square."})
    (row,) = prepare_here(folder, tmp_path / "set", given).rows
    assert (row.shots["kept"], row.shots["no caption"]) == (1, 1)
    assert PreparedSet(tmp_path / "set").read_shot(0)["text"].tobytes() == b"A square."


def test_a_users_cuts_and_scenes_are_used_unchanged(film, given, tmp_path):
    write_json(film / "a.captions.jsonl", {"prompt": "A square."})
    scenes = [[[0, 10], [10, 26]], [[60, 100]]]  # at 24 a second: 0 to 5, 5 to 13, 30 to 50
    write_json(film / "a.cuts.json", {"format": "lct_jax.cuts/1", "fps": 24, "scenes": scenes})
    prepare_here(film, tmp_path / "set", given)
    prepared = PreparedSet(tmp_path / "set")
    assert prepared.lengths.scene_start.tolist() == [0, 2, 3]
    assert prepared.abouts[0].frames == (5, 8, 20)


def test_cuts_past_the_end_are_reported_in_the_row(film, given, tmp_path):
    write_json(film / "a.cuts.json", {"format": "lct_jax.cuts/1", "fps": 12, "shots": [[50, 61]]})
    (row,) = prepare_here(film, tmp_path / "set", given).rows
    assert row.outcome == "set aside"
    assert row.why.endswith("the last shot ends at frame 61, but the video has 60 at 12 fps")


def test_a_scene_file_beside_a_video_is_used(given, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    tiny = make_tiny_film(folder)
    tiny.config.unlink()
    tiny.scenes.rename(folder / "film.scenes.json")
    (row,) = prepare_here(folder, tmp_path / "set", given).rows
    assert (row.outcome, row.name) == ("prepared", "film.mp4")
    names = [scene["id"] for scene in describe_scenes()["scenes"]]
    assert PreparedSet(tmp_path / "set").scene_names == names


def test_shots_seen_before_are_left_out_across_films(film, given, tmp_path):
    frames = np.concatenate(
        [
            draw_shots((20,), height=32, width=48, seed=30),
            draw_shots((20, 20, 20), height=32, width=48, seed=20)[:20],
        ]
    )
    write_footage(film / "b.mp4", frames)
    for name in "ab":
        write_json(film / f"{name}.captions.jsonl", {"prompt": "A square."})
    first, second = prepare_here(film, tmp_path / "set", given).rows
    assert first.shots.get("duplicate", 0) == 0
    assert second.shots["duplicate"] == 1
    assert second.shots["kept"] == 1


def test_a_folder_without_a_usable_video_makes_no_set(given, tmp_path):
    (tmp_path / "videos").mkdir()
    assert prepare_here(tmp_path / "videos", tmp_path / "set", given).rows == []
    assert not (tmp_path / "set" / "card.json").exists()
    with pytest.raises(InputError, match="nowhere: found no folder, expected one with videos"):
        prepare_here(tmp_path / "nowhere", tmp_path / "set", given)


def test_footage_with_too_large_a_stretch_is_reported_in_its_row(given, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_footage(folder / "strip.mp4", draw_shots((20,), height=16, width=128))
    (row,) = prepare_here(folder, tmp_path / "set", given).rows
    assert "128x16 would become 112x16, stretched by 14%, expected at most 10%" in row.why


# ---- splits --------------------------------------------------------------------------------------


def test_films_are_split_by_their_content_alone():
    films = [f"{number:08x}" for number in range(0, 2**32, 2**32 // 50)]
    splits = choose_splits(films, held_out=0.1)
    assert splits.count("held_out") == 5 or splits.count("held_out") == 6
    assert choose_splits(films[::-1], held_out=0.1) == splits[::-1]
    assert choose_splits(["ffffffff", "eeeeeeee"], held_out=0.1) == ["train", "held_out"]
    assert choose_splits(["ffffffff", "eeeeeeee"], held_out=0.0) == ["train", "train"]
    assert choose_splits(["ffffffff"], held_out=0.1) == ["train"]
