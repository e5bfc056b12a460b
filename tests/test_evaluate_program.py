"""`evaluate.py` as a user runs it: samples, measures, goes on where it was, and complains in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_film import HEIGHT, WIDTH, Result, run_program, shared_film, shared_run

pytestmark = pytest.mark.programs

SCENE = Path("samples", "joint", "quay.0")


def evaluate(out: Path, *arguments: str) -> Result:
    """Evaluates the shared run on the scenes that it was trained on."""
    flags = {
        "checkpoint": shared_run(),
        "scenes": shared_film().scenes,
        "out": out,
        "split": "train",
    }
    size = (
        "--steps=1",
        "--frames=5",
        f"--height={HEIGHT}",
        f"--width={WIDTH}",
        "--features=thumbnail",
    )
    return run_program("evaluate.py", *(f"--{n}={v}" for n, v in flags.items()), *size, *arguments)


def test_scenes_are_sampled_once_and_measured(tmp_path):
    first = evaluate(tmp_path, "--rows=single_after,joint")
    assert first.code == 0, first.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    rows, made = results["rows"], results["made"]
    assert list(rows) == ["as filmed", "single shot, after", "scene, joint"]
    kept = json.loads((tmp_path / SCENE / "made.json").read_text())
    assert made["scene, joint"].items() <= kept.items()
    assert made["scene, joint"]["weights"] == made["single shot, after"]["weights"]
    # Three pairs with a cut between in one scene; the two shots of the other are one take.
    assert {row["cross-shot consistency"]["count"] for row in rows.values()} == {3}
    assert {row["cuts right"]["count"] for row in rows.values()} == {3}
    # One of its three cuts is between two dark colours that the detector takes for one.
    assert rows["as filmed"]["cuts right"]["value"] == pytest.approx(2 / 3)
    assert rows["scene, joint"]["rank"]["count"] == 5
    assert first.stdout == (tmp_path / "table.md").read_text() + "\n"
    shots = sorted(path.name for path in (tmp_path / SCENE / "shots").iterdir())
    assert shots == ["shot_01.mp4", "shot_02.mp4", "shot_03.mp4"]
    single = tmp_path / "samples" / "single_after" / "quay.0"
    modes = [
        json.loads((f / "manifest.json").read_text())["made"]["mode"]
        for f in (tmp_path / SCENE, single)
    ]
    assert modes == ["joint", "alone"]

    # A killed run leaves some scenes; only the missing ones are sampled, and the numbers are the same.
    before = (tmp_path / SCENE / "latents.safetensors").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "samples" / "joint" / "road.0")
    again = evaluate(tmp_path, "--rows=joint")
    assert again.code == 0, again.stderr
    other = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert other == {name: rows[name] for name in ("as filmed", "scene, joint")}
    assert (tmp_path / SCENE / "latents.safetensors").stat().st_mtime_ns == before

    other = evaluate(tmp_path, "--rows=joint", "--guidance=1")
    assert other.code == 2
    assert other.stderr.splitlines()[-1] == (
        f"error: {tmp_path / SCENE}: found samples of other weights, settings or words, expected none or those of this"
        " command (another --out, or remove the folder)"
    )


def test_causal_rows_need_causal_weights(tmp_path):
    result = evaluate(tmp_path, "--rows=causal")
    assert (result.code, result.stderr) == (
        2,
        "error: --causal: missing, expected weights for the row causal\n",
    )
