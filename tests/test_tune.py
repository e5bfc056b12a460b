"""The whole way by one command: a tiny random pipeline in Wan's layout, tuned on scenes of the film example."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from published_base import NETWORK, shared_base
from safetensors.numpy import load_file
from tiny_film import ROOT, Result, run_program, start_program

from lct_jax.backbones.load import load_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.tensors import name_leaves

pytestmark = pytest.mark.programs

SIZES = {
    "prepare": {"fps": 12.0, "height": 32, "width": 64, "max_frames": 5, "stills": 1}
    | {"aspect_error": 0.2},
    "layout": {"scene_span": 192, "shot_span": 64},
    "data": {"rows": 2, "video_tokens": 64, "text_tokens": 640, "groups": 4, "max_shots": 2}
    | {"pool": 2, "workers": 0},
    "compute": {"dtype": "float32", "remat": "none"},
    "training": {"steps": 12, "warmup": 1, "accumulate": 1, "learning_rate": 1e-3}
    | {"save_every": 3, "log_every": 3, "eval_batches": 0, "keep": 1},
    "sampling": {"steps": 1, "frames": 5, "height": 32, "width": 64, "window": 2},
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
EDITS = [
    f"--config.{section}.{field}={value}"
    for section, fields in SIZES.items()
    for field, value in fields.items()
]


def write_footage(folder: Path) -> Path:
    """Writes a scene file of two scenes of the film, one of them held out."""
    film = ROOT / "examples/big_buck_bunny"
    content = json.loads((film / "scenes.json").read_text())
    content["film"]["file"] = str(film / content["film"]["file"])
    wanted = ("dawn_landscape", "burrow_morning", "hail_of_nuts")
    content["scenes"] = [scene for scene in content["scenes"] if scene["id"] in wanted]
    path = folder / "scenes.json"
    path.write_text(json.dumps(content))
    return path


def write_arguments(folder: Path, *more: str) -> list[str]:
    paths = {"base": folder / "base", "scenes": folder / "scenes.json", "out": folder / "out"}
    given = [f"--{name}={path}" for name, path in paths.items()]
    return ["-m", "lct_jax.tune", *given, "--causal", *EDITS, *more]


def tune(folder: Path, *more: str) -> Result:
    return run_program(*write_arguments(folder, "--until=export", *more))


def find_states(result: Result) -> dict[str, str]:
    """Returns what was said of every stage: that it was done before, or how it was begun."""
    lines = [line for line in result.stdout.splitlines() if line.startswith("==== ")]
    parts = (line.removeprefix("==== ").partition(": ") for line in lines)
    return {name: said.split(" --")[0] for name, _, said in parts}


def kill_in_scenes(process: subprocess.Popen[str], out: Path) -> None:
    """Kills the command, and with it the stage, when the first run has a checkpoint."""
    deadline = time.monotonic() + 240
    while not list(out.glob("scenes/checkpoints/[0-9]*/manifest.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_base_becomes_a_scene_model_in_one_command_that_is_killed_once(tmp_path):
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(shared_base(), base)
    write_footage(tmp_path)
    result = tune(tmp_path, "--until=prepare")
    assert result.code == 0, result.stderr
    assert list(find_states(result)) == ["check", "plan", "prepare"]
    assert "fits: 0.0 of" in result.stdout
    assert json.loads((out / "base.json").read_text())["topology"] == "cpu:1"

    # Training reads records alone: the text encoder is not there.
    (base / "text_encoder").rename(tmp_path / "away")
    kill_in_scenes(start_program(*write_arguments(tmp_path, "--until=export")), out)
    (tmp_path / "away").rename(base / "text_encoder")

    result = tune(tmp_path)
    assert result.code == 0, result.stderr
    states = find_states(result)
    assert list(states) == ["check", "plan", "prepare", "scenes", "causal", "sample", "export"]
    assert [states[n] for n in ("check", "plan", "prepare")] == ["done before"] * 3
    assert states["causal"] == f"python {ROOT}/train.py"
    assert f"{out}/scenes/checkpoints: going on from step " in result.stdout
    assert f"starting from {out}/scenes (base, context full, ema of step 12)" in result.stdout
    assert f"{out}/causal: 12 steps done" in result.stdout

    script = json.loads((out / "script.json").read_text())
    held_out = json.loads((tmp_path / "scenes.json").read_text())["scenes"][-1]
    assert script["environment"] == held_out["environment"]
    assert [s["prompt"] for s in script["shots"]] == [s["prompt"] for s in held_out["shots"][:2]]
    assert sorted(path.name for path in (out / "sample/shots").iterdir()) == [
        "shot_01.mp4",
        "shot_02.mp4",
    ]
    tuned, before = (
        name_leaves(load_published(folder, NETWORK, build_abstract(NETWORK).params))
        for folder in (out / "weights/transformer", base)
    )
    moved = [np.abs(np.asarray(tuned[name]) - np.asarray(before[name])).max() for name in tuned]
    assert min(moved) > 0

    again = tune(tmp_path)
    assert again.code == 0, again.stderr
    assert set(find_states(again).values()) == {"done before"}


def kill_in_stage(process: subprocess.Popen[str], name: str) -> bool:
    """Kills the command soon after a stage was begun; returns False where it ended before."""
    for line in process.stdout:
        if line.startswith(f"==== {name}: python"):
            time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_command_that_is_killed_in_every_stage_gives_the_same_weights(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        # Both have one base, whose place is in what they write.
        (tmp_path / name / "base").symlink_to(shared_base())
        write_footage(tmp_path / name)
    whole = tune(tmp_path / "whole")
    assert whole.code == 0, whole.stderr
    for stage in ("check", "plan", "prepare", "scenes", "causal", "sample", "export"):
        process = start_program(*write_arguments(tmp_path / "killed", "--until=export"))
        assert kill_in_stage(process, stage), stage
    killed = tune(tmp_path / "killed")
    assert killed.code == 0, killed.stderr
    first, second = (
        load_file(tmp_path / name / "out/weights/transformer" / WEIGHTS)
        for name in ("whole", "killed")
    )
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(second[name], tensor, err_msg=name)
    check_evaluation(tmp_path / "whole")


def check_evaluation(folder: Path) -> None:
    """The last stage of a command that was run up to it: killed, gone on with, and done before."""
    arguments = write_arguments(folder)
    assert kill_in_stage(start_program(*arguments), "evaluate")
    result = run_program(*arguments)
    assert result.code == 0, result.stderr
    states = find_states(result)
    assert states.pop("evaluate") == f"python {ROOT}/evaluate.py"
    assert set(states.values()) == {"done before"}
    rows = json.loads((folder / "out/evaluation/results.json").read_text())["rows"]
    assert list(rows) == ["independent shots", "scene, joint", "scene, causal with cache"]
    # The held-out scene has more shots than are sampled at once: the script of its first two is evaluated.
    assert {row["cross-shot consistency"]["count"] for row in rows.values()} == {1}
    assert (folder / "out/evaluation/table.md").read_text() in result.stdout
    assert set(find_states(run_program(*arguments)).values()) == {"done before"}


def test_the_command_holds_no_chip(tmp_path):
    """With no backend that could be initialised, the parent still prints what it would run."""
    write_footage(tmp_path)
    shutil.copytree(shared_base(), tmp_path / "base")
    arguments = write_arguments(tmp_path, "--dry-run", "--until=export")
    process = start_program(*arguments, environment={"JAX_PLATFORMS": "none_such"})
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert [line.split()[:2] for line in said.splitlines()] == [
        [name, "to"]
        for name in ("check", "plan", "prepare", "scenes", "causal", "sample", "export")
    ]
    assert not (tmp_path / "out").exists()


def test_on_several_hosts_the_commands_are_printed(tmp_path):
    write_footage(tmp_path)
    shutil.copytree(shared_base(), tmp_path / "base")
    hosts = ("--coordinator=host0:1234", "--processes=2", "--process_id=0")
    result = tune(tmp_path, *hosts, "--until=scenes")
    assert result.code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# check, on one host",
        "# plan, on one host",
        "# prepare, on one host",
        "# scenes, on every host",
    ]
    assert lines[-1].endswith(" --coordinator=host0:1234 --processes=2 --process_id=I")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--videos=."], "--videos, --scenes: expected one of them"),
        (["--base=nowhere"], "--base: nowhere: not found"),
        (["--until=causal", "--nocausal"], "--until: found 'causal' without --causal"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, change, expected):
    write_footage(tmp_path)
    shutil.copytree(shared_base(), tmp_path / "base")
    result = tune(tmp_path, *change)
    assert result.code == 2
    assert f"error: {expected}" in result.stderr
