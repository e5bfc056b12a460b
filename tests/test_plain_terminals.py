"""Programs on a terminal that has only ASCII (PYTHONIOENCODING=ascii): no traceback, the same exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_programs import SAMPLING, check_refused
from tiny_film import make_tiny_film, run_program, shared_film

from lct_jax.media.video import write_video

PLAIN = ("env", "PYTHONIOENCODING=ascii")
NAME = "Épisode 1 雨"


def run(*arguments: str | Path) -> str:
    """Returns all that a program prints; it must exit with 0."""
    result = run_program(*arguments, through=PLAIN)
    assert result.code == 0, result.stderr
    assert "Traceback" not in result.stderr
    text = result.stdout + result.stderr
    assert text.isascii()
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("train.py", "--config=configs/film_tiny.py", f"--data={NAME}", "--workdir=runs/not_made"),
        ("sample.py", f"--checkpoint={NAME}", "--script=s.json", "--out=runs/not_made"),
        ("evaluate.py", f"--checkpoint={NAME}", "--scenes=s.json", "--out=runs/not_made"),
        ("-m", "lct_jax.data.prepare", f"--config={NAME}", "--out=runs/not_made"),
        ("-m", "lct_jax.data.sets.validate", f"--data={NAME}"),
        (
            "-m",
            "lct_jax.data.sets.contact_sheet",
            f"--config={NAME}",
            "--data=set",
            "--out=runs/no.png",
        ),
        ("-m", "lct_jax.export", f"--checkpoint={NAME}", "--out=runs/not_made"),
        ("-m", "lct_jax.plan", "--config=configs/film_tiny.py", f"--topology={NAME}"),
        ("-m", "lct_jax.evaluation.puppets", f"--checkpoint={NAME}", "--out=runs/not_made"),
    ],
)
def test_an_error_that_names_a_path_is_one_line(arguments):
    result = run_program(*arguments, through=PLAIN)
    check_refused(result, r"\xc9pisode 1 \u96e8")
    assert result.stderr.isascii()


@pytest.mark.slow
def test_programs_end_well_in_a_folder_that_they_cannot_print(tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    film = make_tiny_film(folder)
    shown = r"\xc9pisode 1 \u96e8"
    prepare = ("-m", "lct_jax.data.prepare", f"--scenes={film.scenes}", f"--config={film.config}")
    assert shown in run(*prepare, f"--out={folder / 'set'}")
    training = ("train.py", f"--config={film.config}", f"--data={folder / 'set'}")
    assert shown in run(*training, f"--workdir={folder / 'run'}")
    assert shown in run(*training, f"--workdir={folder / 'run'}")  # goes on, and is done
    exported = run(
        "-m", "lct_jax.export", f"--checkpoint={folder / 'run'}", f"--out={folder / 'w'}"
    )
    assert shown in exported
    run("-m", "lct_jax.data.sets.validate", f"--data={folder / 'set'}")
    assert shown in run(
        "-m", "lct_jax.data.sets.contact_sheet", f"--config={film.config}", *_sheet(folder)
    )
    script = {"format": "lct_jax.script/1", "shots": [{"prompt": "Ночь, 雨, café."}]}
    (folder / "script.json").write_text(json.dumps(script))
    sampling = ("sample.py", f"--checkpoint={folder / 'run'}", f"--script={folder / 'script.json'}")
    assert shown in run(*sampling, f"--out={folder / 'scene'}", *SAMPLING)


@pytest.mark.slow
def test_a_report_on_a_folder_of_videos_is_printed(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / f"{NAME}.mp4", np.zeros((30, 32, 48, 3), np.uint8), fps=12)
    (videos / "сломан.mp4").write_bytes(b"no video")
    config = f"--config={shared_film().config}"
    out = f"--out={tmp_path / 'set'}"
    flags = (f"--videos={videos}", config, out, "--until=takes", "--processes=1")
    result = run_program("-m", "lct_jax.data.prepare", *flags, through=PLAIN)
    assert "Traceback" not in result.stderr, result.stderr
    assert (result.stdout + result.stderr).isascii()
    assert r"\u0441\u043b\u043e\u043c\u0430\u043d.mp4" in result.stdout + result.stderr


def _sheet(folder: Path) -> tuple[str, str]:
    return f"--data={folder / 'set'}", f"--out={folder / 'sheet.png'}"
