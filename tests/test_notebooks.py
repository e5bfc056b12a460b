"""The notebooks run from the first cell to the last in a kernel, at small settings, and hold no output but pictures."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
PICTURES = {"image/jpeg", "image/png", "video/mp4", "text/plain", "text/html"}
SMALL = " ".join(
    f"--config.{field}"
    for field in (
        "backbone.width=64",
        "backbone.heads=1",
        "backbone.depth=1",
        "compute.dtype=float32",
        "data.rows=1",
        "data.pool=1",
        "prepare.max_frames=9",
        "prepare.clips=1",
        "prepare.stills=1",
        "training.eval_batches=1",
        "training.log_every=1",
        "training.warmup=1",
    )
)
SETTINGS = {
    "quickstart": {"LCT_STEPS": "6"},
    "train_on_tpu": {
        "LCT_STEPS": "2",
        "LCT_FLAGS": SMALL,
        "LCT_SAMPLING": "--steps=1 --frames=5 --count=1 --shots=2 --rows=joint,causal --features=thumbnail",
    },
}
MADE = {
    "quickstart": ("walk/scene.mp4", "edited/storyboard.png", "meadow/storyboard.png"),
    "train_on_tpu": (
        "sheet.png",
        "scenes/checkpoints/2",
        "table/index.html",
        "weights.safetensors",
    ),
}
SHOWN = {"quickstart": 4, "train_on_tpu": 4}


def read_cells(name: str) -> list[dict]:
    """Returns the cells of a notebook."""
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_notebook_keeps_pictures_alone(name):
    cells = read_cells(name)
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert {output["output_type"] for output in outputs} <= {"display_data"}
    assert {kind for output in outputs for kind in output["data"]} <= PICTURES


def test_every_notebook_is_run():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_without_a_clone_the_placeholder_of_the_address_is_refused(name, tmp_path, monkeypatch):
    first = next(cell for cell in read_cells(name) if cell["cell_type"] == "code")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="REPOSITORY: found a placeholder, expected where this"):
        exec("".join(first["source"]), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_notebook_runs_from_its_first_cell_to_its_last(name, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    settings = {"LCT_PYTHON": sys.executable, "LCT_WORK": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    monkeypatch.delenv("XLA_FLAGS")  # one device, as on a machine of a user
    for variable, value in (settings | SETTINGS[name]).items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=1200, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    # The exit code of a program that a cell starts does not fail the cell.
    assert not re.search(r"^(error:|Traceback)", text, flags=re.MULTILINE), text
    assert [made for made in MADE[name] if not (tmp_path / made).exists()] == []
    pictures = [
        output for output in outputs if any(k.startswith("image/") for k in output.get("data", ()))
    ]
    assert len(pictures) >= SHOWN[name]
