"""Tests the picture of sampled scenes: which are drawn, where their shots lie, and the credit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.save_script import to_plain
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.evaluation.grid import draw_grid, read_scenes
from lct_jax.media.video import write_video
from lct_jax.scene_files.record import SceneRecord
from lct_jax.scene_files.writer import SceneWriter

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def write_scene(folder: Path, texts: list[str], shots: int = 2) -> None:
    """Writes a scene as `sample.py` once did: shots of three frames, of which the middle one has a colour."""
    for number in range(shots):
        frames = np.zeros((3, 32, 48, 3), np.uint8)
        frames[1] = COLOURS[number]
        write_video(folder / "shots" / f"shot_{number + 1:02d}.mp4", frames, 12)
    about = {"script": texts, "credit": "By us"}
    (folder / "sample.json").write_text(json.dumps(about))


def test_the_first_scenes_are_read_with_their_words_and_middle_frames(tmp_path):
    write_scene(tmp_path / "b", ["Environment: A quay.", "[SHOT CUT] Rain.", "It goes on."])
    write_scene(tmp_path / "a", ["[SHOT CUT] Rain.", "[SHOT CUT] Sun."])
    write_scene(tmp_path / "c", ["[SHOT CUT] Rain."], shots=1)
    one, two = read_scenes(tmp_path, 2)
    assert (one.shared, one.prompts) == ("", ("Rain.", "Sun."))
    assert (two.shared, two.prompts) == ("Environment: A quay.", ("Rain.", "It goes on."))
    for frame, colour in zip(two.frames, COLOURS, strict=False):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 12


def test_a_scene_as_it_is_written_today_is_read_with_its_credit(tmp_path):
    shots = (ShotPrompt("Rain."), ShotPrompt("It goes on.", cut=False))
    script = Script(GlobalPrompt({}, "A quay.", ""), shots)
    folder = tmp_path / "a"
    writer = SceneWriter(folder, script, given={}, fps=12.0, credit="By us")
    for number in range(2):
        frames = np.full((3, 32, 48, 3), COLOURS[number], np.uint8)
        writer.add(number, latent=np.zeros((1, 4, 6, 3), np.float32), frames=frames)
    writer.finish(mode="joint")
    SceneRecord.open(folder, {"script": to_plain(script, folder=folder)}, {})
    (scene,) = read_scenes(tmp_path, 4)
    assert (scene.shared, scene.prompts) == ("Environment: A quay.", ("Rain.", "It goes on."))
    assert scene.credit == "By us"
    for frame, colour in zip(scene.frames, COLOURS, strict=False):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 12


def test_a_row_for_each_scene_and_a_column_for_each_shot(tmp_path):
    write_scene(tmp_path / "a", ["Environment: A quay.", "Rain.", "Sun."])
    write_scene(tmp_path / "b", ["Rain.", "Sun.", "Snow."], shots=3)
    page = np.asarray(draw_grid(read_scenes(tmp_path, 4))).astype(int)
    places = [np.argwhere(np.abs(page - colour).max(axis=-1) < 20) for colour in COLOURS]
    assert page.shape[1] == 960
    # Both scenes have a red and a green shot in the same columns; the blue one is in the second row alone.
    assert all(290 < np.ptp(place[:, 1]) < 304 for place in places)
    assert [place[:, 1].min() // 300 for place in places] == [0, 1, 2]
    assert np.ptp(places[0][:, 0]) == np.ptp(places[1][:, 0]) > 2 * np.ptp(places[2][:, 0])
    assert places[2][:, 0].max() == places[0][:, 0].max()


def test_a_folder_without_scenes_or_with_a_scene_in_the_making_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found no NAME/sample\.json, expected sampled"):
        read_scenes(tmp_path, 1)
    write_scene(tmp_path / "a", ["Environment: A quay.", "Rain.", "Sun.", "Snow."], shots=2)
    with pytest.raises(InputError, match="a: found 2 videos of shots, expected those of"):
        read_scenes(tmp_path, 1)
