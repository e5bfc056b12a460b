"""Tests folders in which films with a scene file of the user's own lie beside copies of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from footage_files import draw_shots, write_footage
from tiny_film import write_json

from lct_jax.config import Config
from lct_jax.data.footage import report
from lct_jax.data.footage.stages import find_film_takes
from lct_jax.data.prepare import prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.errors import InputError


def prepare_rows(folder: Path, out: Path, config: Config) -> dict[str, report.FilmRow]:
    rows = prepare_videos(folder, out, config, runner=run_here).rows
    return {row.name: row for row in rows}


def annotate(path: Path, *shots: tuple[int, int]) -> None:
    """Writes a scene file of one scene beside a video."""
    scene = {"id": "one", "split": "train", "characters": [], "environment": "A room.", "story": ""}
    scene |= {"shots": [{"frames": list(shot), "prompt": "A square."} for shot in shots]}
    about = {"file": path.name, "title": "A", "credit": "us", "licence": "CC0", "fps": 12}
    content = {"format": "lct_jax.scenes/1", "film": about, "cast": {}, "scenes": [scene]}
    write_json(path.with_suffix(".scenes.json"), content)


def test_films_with_scenes_of_their_own_are_compared_with_all_others(tmp_path, given):
    folder = tmp_path / "videos"
    folder.mkdir()
    shots = draw_shots((20, 20, 20), height=32, width=48, seed=20)
    own = write_footage(folder / "own.mp4", shots)
    annotate(own, (0, 20), (20, 40))
    # Its copy comes first by name, and a copy of the copy has the same scenes.
    shutil.copy(own, folder / "copy.mp4")
    shutil.copy(own, folder / "twin.mp4")
    annotate(folder / "twin.mp4", (0, 20), (20, 40))
    # The same shots in another film, of which the last is not in the scenes.
    other = np.concatenate([draw_shots((20,), height=32, width=48, seed=30), shots])
    write_footage(folder / "other.mp4", other)
    for name in ("copy", "other"):
        write_json(folder / f"{name}.captions.jsonl", {"prompt": "A square."})
    rows = prepare_rows(folder, tmp_path / "set", given)
    assert rows["own.mp4"].outcome == "prepared"
    assert rows["copy.mp4"].why == "the same content as own.mp4"
    assert rows["twin.mp4"].why == "the same content and scenes as own.mp4"
    assert rows["other.mp4"].shots["duplicate"] == 2
    assert rows["other.mp4"].shots["kept"] == 2


def test_a_film_with_scenes_that_cannot_be_compared_is_prepared_and_says_so(
    tmp_path, given, monkeypatch
):
    folder = tmp_path / "videos"
    folder.mkdir()
    own = write_footage(folder / "own.mp4", draw_shots((20, 20), height=32, width=48, seed=20))
    annotate(own, (0, 20), (20, 40))
    write_footage(folder / "other.mp4", draw_shots((20,), height=32, width=48, seed=30))
    write_json(folder / "other.captions.jsonl", {"prompt": "A square."})

    def refuse(job):
        if job.name == "own.mp4":
            raise InputError("combs")
        return find_film_takes(job)

    monkeypatch.setattr(report, "find_film_takes", refuse)
    rows = prepare_rows(folder, tmp_path / "set", given)
    assert [row.outcome for row in rows.values()] == ["prepared", "prepared"]
    assert rows["own.mp4"].notes == "other films are not compared with it (combs)"
