"""sample.py as a user runs it: killed at any moment, it goes on; shots are taken again; a manifest gives all again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from shared_folder import make_once
from test_programs import check_refused
from tiny_film import Result, run_program, start_program
from tiny_generator import CODEC, write_weights

pytestmark = pytest.mark.programs

SCRIPT = """\
format: lct_jax.script/2
environment: A harbour.
sampler: {mode: MODE, steps: 4}
shots:
- prompt: A wide quay.
- prompt: A boat leaves.
  cut: false
- prompt: A gull lands.
- prompt: A man waves.
"""
CONTEXTS = {"autoregressive": "full", "causal": "causal"}


def arguments(folder: Path, mode: str) -> list[str]:
    weights = make_once(
        f"weights_{CONTEXTS[mode]}",
        lambda made: write_weights(made / "weights.safetensors", CONTEXTS[mode]) and None,
    )
    script = folder / f"{mode}.yaml"
    script.write_text(SCRIPT.replace("MODE", mode))
    return ["sample.py", f"--checkpoint={weights / 'weights.safetensors'}", f"--codec={CODEC}"]


def check_done(result: Result) -> None:
    assert result.code == 0, result.stderr


def check_same(one: Path, other: Path) -> None:
    first, second = (load_file(folder / "latents.safetensors") for folder in (one, other))
    assert first.keys() == second.keys() and len(first) == 4
    for name, latent in first.items():
        np.testing.assert_array_equal(latent, second[name])


@pytest.mark.parametrize("mode", CONTEXTS)
def test_a_program_that_is_killed_goes_on_to_the_same_latents(tmp_path, mode):
    program = arguments(tmp_path, mode)
    script = f"--script={tmp_path / mode}.yaml"
    check_done(run_program(*program, script, f"--out={tmp_path / 'whole'}"))
    killed = 0
    # It is killed once the next shot is on disk, so that each start finds one more.
    for shots in (1, 2):
        process = start_program(*program, script, f"--out={tmp_path / 'parts'}")
        found, deadline = (
            tmp_path / f"parts/latents/shot_0{shots}.safetensors",
            time.monotonic() + 300,
        )
        while not found.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    check_done(run_program(*program, script, f"--out={tmp_path / 'parts'}"))
    check_same(tmp_path / "parts", tmp_path / "whole")


def test_a_shot_is_taken_again_and_the_manifest_gives_all_again(tmp_path):
    program, out = arguments(tmp_path, "causal"), tmp_path / "out"
    check_done(run_program(*program, f"--script={tmp_path}/causal.yaml", f"--out={out}"))
    check_done(run_program(*program, "--redo=3", "--seed=7", f"--out={out}"))
    assert (out / "shots/shot_03.take_02.mp4").exists()
    again = tmp_path / "again"
    check_done(run_program(*program, f"--manifest={out / 'manifest.json'}", f"--out={again}"))
    check_same(again, out)
    page = (out / "index.html").read_text()
    assert page.count("<video ") == 5  # the film and its shots, all in the one file
    assert page.count('src="data:video/mp4;base64,') == 5
    assert "http" not in page
    refused = run_program(*program, "--redo=3", "--guidance=2", f"--out={out}")
    check_refused(refused, "--guidance: found beside --redo, expected none")
    refused = run_program(*program, f"--out={out}")
    check_refused(refused, "--script, --manifest, --redo: found none of them, expected one")


def test_a_preview_is_one_picture(tmp_path):
    program = arguments(tmp_path, "autoregressive")
    script = f"--script={tmp_path}/autoregressive.yaml"
    check_done(run_program(*program, script, "--preview", f"--out={tmp_path / 'out'}"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["preview.png"]
