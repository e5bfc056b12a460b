"""The notebooks run from the first cell to the last in a kernel, at small settings, and hold no output but pictures."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import quick_compiler
from published_base import NETWORK, shared_base
from record_bits import prepare_film
from shared_folder import make_once
from test_tune import EDITS, write_footage

from lct_jax.cli import load_config
from lct_jax.config import freeze

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


def execute(
    name: str,
    settings: dict[str, str],
    *,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    cells: slice = slice(None),
    flags: str = quick_compiler.FLAGS,
) -> list:
    """Runs the code cells that `cells` leaves of a notebook in a kernel, and returns their outputs.

    Args:
        flags: those of XLA.
    """
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    settings = settings | {"LCT_PYTHON": sys.executable, "LCT_WORK": str(work)}
    # One device, as on a machine of a user.
    settings = settings | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    first, last = notebook.cells[:2], notebook.cells[2:]
    notebook.cells = [*first, *last[cells]]
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=1200, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    # The exit code of a program that a cell starts does not fail the cell.
    assert not re.search(r"^(error:|Traceback)", text, flags=re.MULTILINE), text
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_notebook_runs_from_its_first_cell_to_its_last(name, tmp_path, monkeypatch):
    settings, flags = SETTINGS[name], quick_compiler.FLAGS
    if name == "quickstart":
        flags = ""  # shipped weights compute for longer than they are compiled
        # The cell finds that the film is prepared already.
        shutil.copytree(make_once("whole_film", prepare_film), tmp_path / "film")
    else:
        settings = settings | {"LCT_FOOTAGE": f"--scenes={write_footage(tmp_path)}"}
    outputs = execute(name, settings, work=tmp_path, monkeypatch=monkeypatch, flags=flags)
    assert [made for made in MADE[name] if not (tmp_path / made).exists()] == []
    pictures = [
        output for output in outputs if any(k.startswith("image/") for k in output.get("data", ()))
    ]
    assert len(pictures) >= SHOWN[name]


@pytest.mark.slow
def test_the_last_cell_tunes_a_published_base_by_a_lora(tmp_path, monkeypatch):
    config = tmp_path / "config.json"
    shipped = freeze(load_config(str(ROOT / "configs/wan_1_3b_lora.py")))
    tiny = dataclasses.replace(shipped, backbone=NETWORK.backbone)
    config.write_text(json.dumps(dataclasses.asdict(tiny)))
    settings = {
        "LCT_BASE": str(shared_base()),
        "LCT_BASE_CONFIG": str(config),
        "LCT_FOOTAGE": f"--scenes={write_footage(tmp_path)}",
        "LCT_BASE_FLAGS": shlex.join([*EDITS, "--config.training.steps=2", "--until=export"]),
    }
    last = slice(-1, None)
    execute("train_on_tpu", settings, work=tmp_path, monkeypatch=monkeypatch, cells=last)
    assert (tmp_path / "tuned/weights/lora.safetensors").exists()
    assert (tmp_path / "tuned/sample/storyboard.png").exists()
