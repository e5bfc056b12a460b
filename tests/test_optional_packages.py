"""Programs start and do their work where packages are absent that this work does not need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_film import Result, run_program, shared_film, shared_run, train_arguments

pytestmark = pytest.mark.programs

# OpenCV, the detector of cuts, the writer of TensorBoard's files, and the cluster that prepares films.
ABSENT = ("cv2", "scenedetect", "tensorboardX", "ray")
WITHOUT = f"""
import runpy, sys
for name in {ABSENT}:
    sys.modules[name] = None  # an import of it raises ImportError
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# The board's package imports PyTorch where it is installed; it lies in a folder of its own here.
BESIDE_TORCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
Path(sys.argv[1], "torch.py").write_text("raise SystemExit('PyTorch is imported')")
from lct_jax.training.report.reporter import make_reporter
make_reporter(Path(sys.argv[1]), start=0, stop=1).write(1, {"loss": 2.0})
import torch
"""


def test_the_board_is_written_without_the_import_of_pytorch(tmp_path):
    result = run_program("-c", BESIDE_TORCH, tmp_path)
    assert list((tmp_path / "tensorboard").iterdir())
    # Behind it the package is there for whoever wants it.
    assert result.stderr.endswith("PyTorch is imported\n")


def run_without(*arguments: str | Path) -> Result:
    """Runs a program of the repository as if the packages `ABSENT` were not installed."""
    return run_program("-c", WITHOUT, *arguments)


def test_train_needs_no_reader_of_films_and_no_board(tmp_path):
    arguments = train_arguments(shared_film(), tmp_path / "run")
    result = run_without(*arguments, "--config.training.steps=2")
    assert result.code == 0, result.stderr
    assert "2 steps done" in result.stdout
    assert "tensorboardX" in result.stderr
    assert (tmp_path / "run/checkpoints/2").is_dir()
    assert not (tmp_path / "run/tensorboard").exists()


def test_a_film_with_its_scene_file_is_prepared_without_the_detector_of_cuts(tmp_path):
    film = shared_film()
    result = run_without(
        "lct_jax/data/prepare.py",
        *(f"--scenes={film.scenes}", f"--config={film.config}", f"--out={tmp_path / 'set'}"),
    )
    assert result.code == 0, result.stderr
    assert (tmp_path / "set/card.json").is_file()


def test_sample_needs_no_reader_of_films_and_no_board(tmp_path):
    script = tmp_path / "script.json"
    shots = [{"prompt": "A quay.", "frames": 5, "height": 32, "width": 48}]
    script.write_text(json.dumps({"format": "lct_jax.script/1", "shots": shots}))
    result = run_without(
        "sample.py",
        *(f"--checkpoint={shared_run()}", f"--script={script}", f"--out={tmp_path / 'out'}"),
        "--steps=2",
    )
    assert result.code == 0, result.stderr
    assert (tmp_path / "out/scene.mp4").is_file()
    assert (tmp_path / "out/storyboard.png").is_file()
