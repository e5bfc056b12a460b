"""The programs as a user runs them, in processes of their own: a scene from a run, and one-line errors."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from shared_folder import make_once
from tiny_film import (
    CONFIG,
    HEIGHT,
    WIDTH,
    Result,
    run_program,
    shared_film,
    shared_run,
    start_program,
    train_arguments,
    write_config,
    write_scenes,
)

from lct_jax.config.network import put
from lct_jax.training.checkpoint.checkpoints import Checkpoints

pytestmark = pytest.mark.programs

SCRIPT = {
    "format": "lct_jax.script/1",
    "characters": {"1": "A woman in a red coat."},
    "environment": "A quay at night.",
    "shots": [
        {"prompt": "Character 1 waits."},
        {"prompt": "Rain on the quay.", "given": "rain.png"},
        {"prompt": "Character 1 leaves.", "cut": False, "frames": 5},
    ],
}
SAMPLING = (
    "--steps=2",
    "--frames=9",
    f"--height={HEIGHT}",
    f"--width={WIDTH}",
    "--history_time=0.1",
)


def write_script(folder: Path, **change: object) -> Path:
    """Writes the script, with top-level keys changed, and the picture that it gives."""
    Image.new("RGB", (64, 32), "navy").save(folder / "rain.png")
    path = folder / "script.json"
    path.write_text(json.dumps({**SCRIPT, **change}))
    return path


def sample(out: Path, *arguments: str | Path, origin: Path | None = None, **flags: str) -> Result:
    """Runs sample.py from the shared run, or from `origin`."""
    given = {"checkpoint": origin or shared_run(), "out": out, **flags}
    return run_program(
        "sample.py", *(f"--{n}={v}" for n, v in given.items()), *SAMPLING, *arguments
    )


def shared_scene() -> Path:
    """Returns the scene sampled jointly; it is sampled once a session."""
    return make_once("scene", _sample_scene)


def _sample_scene(folder: Path) -> None:
    result = sample(folder / "joint", script=str(write_script(folder)), mode="joint")
    assert result.code == 0, result.stderr
    assert result.stdout.split() == [
        str(folder / "joint" / name)
        for name in (
            *("scene.mp4", "storyboard.png", "index.html", "latents.safetensors", "manifest.json"),
        )
    ]


def read_frames(path: Path) -> list[tuple[int, int]]:
    """Returns height and width of every frame."""
    with av.open(str(path)) as container:
        return [(frame.height, frame.width) for frame in container.decode(video=0)]


def test_a_scene_is_written_shot_by_shot_and_cut_together():
    folder = shared_scene() / "joint"
    lengths = [len(read_frames(path)) for path in sorted((folder / "shots").glob("*.mp4"))]
    assert [path.name for path in sorted((folder / "shots").iterdir())] == [
        "shot_01.mp4",
        "shot_03.mp4",  # the second is given
    ]
    assert lengths == [9, 5]
    frames = read_frames(folder / "scene.mp4")
    assert len(frames) == 14
    assert len(set(frames)) == 1
    with Image.open(folder / "storyboard.png") as board:
        assert board.width > board.height > 0
        assert "by us" in board.text["Comment"]
    made = json.loads((folder / "manifest.json").read_text())["made"]
    assert made["mode"] == "joint"
    assert made["sampling"]["steps"] == 2


def test_latents_have_the_sizes_of_the_script():
    latents = load_file(shared_scene() / "joint" / "latents.safetensors")
    # A picture twice as wide as high keeps its aspect ratio at the area of the others.
    assert {name: x.shape for name, x in latents.items()} == {
        "shot_01": (3, 4, 6, 8),
        "shot_02": (1, 4, 6, 8),
        "shot_03": (2, 4, 6, 8),
    }


def test_the_same_seed_gives_the_same_latents_from_a_run_and_from_its_export(tmp_path):
    weights = tmp_path / "weights.safetensors"
    result = run_program("-m", "lct_jax.export", f"--checkpoint={shared_run()}", f"--out={weights}")
    assert result.code == 0, result.stderr
    again = sample(
        tmp_path / "again",
        script=str(shared_scene() / "script.json"),
        mode="joint",
        codec=str(shared_run() / "codec.safetensors"),
        origin=weights,
    )
    assert again.code == 0, again.stderr
    found, expected = (
        load_file(folder / "latents.safetensors")
        for folder in (tmp_path / "again", shared_scene() / "joint")
    )
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_autoregressive_sampling_gives_other_latents_than_joint(tmp_path):
    """The window of the first shot also has the given picture, but not the third shot."""
    script = str(shared_scene() / "script.json")
    result = sample(tmp_path, script=script, mode="autoregressive")
    assert result.code == 0, result.stderr
    found, joint = (
        load_file(folder / "latents.safetensors") for folder in (tmp_path, shared_scene() / "joint")
    )
    assert {n: x.shape for n, x in found.items()} == {n: x.shape for n, x in joint.items()}
    np.testing.assert_array_equal(found["shot_02"], joint["shot_02"])
    assert np.abs(found["shot_03"] - joint["shot_03"]).max() > 0


# ---- mistakes: one line on stderr, an exit code of 2, no traceback ---------------------------------------------


def check_refused(result: Result, *expected: str) -> None:
    """Checks that the last line is the error, and the only line."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.code == 2, result.stderr
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for text in expected:
        assert text in lines[0]


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--stepz=3", ["stepz"]),
        ("--config.training.stepz=3", ["config.training.stepz", "did you mean 'steps'"]),
        ("--config.training.steps=many", ["config.training.steps", "'many'", "int"]),
        ("--config.training.warmup=8", ["training.warmup", "found 8", "steps 8"]),
        ("--data=nowhere", ["nowhere", "not found", "lct_jax.data.prepare"]),
        ("--config.data.video_tokens=12", ["data.video_tokens", "found 12", "at least 19"]),
        ("--config.training.init_from=no.safetensors", ["no.safetensors", "not found"]),
        ("--workdir=", ["--workdir", "found nothing"]),
    ],
)
def test_training_refuses(tmp_path, flag, expected):
    check_refused(run_program(*train_arguments(shared_film(), tmp_path), flag), *expected)


def test_training_refuses_fewer_steps_than_the_checkpoint_has():
    result = run_program(*train_arguments(shared_film(), shared_run()), "--config.training.steps=4")
    check_refused(result, "training.steps", "found 4", "at least 8")


def test_a_folder_that_another_process_trains_into_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    result = run_program(*train_arguments(shared_film(), tmp_path))
    check_refused(result, str(tmp_path), "another process")
    checkpoints.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stop_signal_saves_the_current_step(tmp_path, number, code):
    arguments = [*train_arguments(shared_film(), tmp_path), "--config.training.steps=4000"]
    process = start_program(*arguments)
    deadline = time.monotonic() + 300
    while not (tmp_path / "metrics.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stderr
    assert re.search(rf"{number.name}, saved \d+\.\d s after it came; the same command", stdout)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert Checkpoints(tmp_path).latest == last["step"]


def test_training_refuses_the_checkpoint_of_another_model(tmp_path):
    shutil.copytree(shared_run(), tmp_path / "run")
    write_config(tmp_path / "deeper.py", put(CONFIG, depth=2))
    arguments = train_arguments(shared_film(), tmp_path / "run")
    result = run_program(*arguments, f"--config={tmp_path / 'deeper.py'}")
    check_refused(result, str(tmp_path / "run"), "made with backbone.depth 1", "found 2")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({("film", "file"): "gone.mp4"}, ["gone.mp4", "No such file"]),
        ({("scenes", 2, "shots", 0, "frames"): [81, 999]}, ["film.mp4", "999", "100 frames"]),
        (
            {("scenes", 0, "shots", 0, "prompt"): "Character 2 waits."},
            ["scenes[0].shots[0].prompt", "Character 2", "not described"],
        ),
    ],
)
def test_preparation_refuses(tmp_path, change, expected):
    film = shared_film()
    shutil.copy(film.film, tmp_path / "film.mp4")
    write_scenes(tmp_path / "scenes.json", change)
    paths = {"scenes": tmp_path / "scenes.json", "config": film.config, "out": tmp_path / "set"}
    arguments = [f"--{name}={path}" for name, path in paths.items()]
    check_refused(run_program("-m", "lct_jax.data.prepare", *arguments), *expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shots": []}, ["script.json", "shots", "empty"]),
        ({"shots": [{"prompt": "rain " * 40}]}, ["shots[0].prompt", "found", "at most 32"]),
        ({"story": "Character 7 is late."}, ["story", "Character 7", "not described"]),
        ({"shots": [{"prompt": "Rain.", "frames": 8}]}, ["shots[0].frames", "found 8", "5 or 9"]),
        (
            {"shots": [{"prompt": "Rain.", "frames": 5, "given": "rain.png"}]},
            ["shots[0].frames", "'given'"],
        ),
    ],
)
def test_sampling_refuses_a_script(tmp_path, change, expected):
    result = sample(tmp_path / "out", script=str(write_script(tmp_path, **change)))
    check_refused(result, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--mode=sideways"], ["mode", "sideways"]),
        (["--window=2"], ["found 3 shots", "at most 2", "sampling.window"]),
        (["--width=56"], ["sampling.width", "found 56", "multiple of 16"]),
        (["--negative_shot=" + "fog " * 40], ["sampling.negative_shot", "found", "at most 32"]),
        (["--out=README.md"], ["README.md"]),
        (["--checkpoint=nowhere"], ["nowhere"]),
        (["--encoder=moved"], ["prepare.encoder_from: moved: no such folder", "--encoder=FOLDER"]),
    ],
)
def test_sampling_refuses(tmp_path, flags, expected):
    result = sample(tmp_path / "out", *flags, script=str(write_script(tmp_path)))
    check_refused(result, *expected)


def test_sampling_refuses_weights_without_their_codec(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"not read")
    result = sample(tmp_path / "out", script=str(write_script(tmp_path)), origin=weights)
    check_refused(result, "--codec: missing", "weights.safetensors")


def test_a_folder_with_another_scene_is_refused_and_kept(tmp_path):
    shutil.copytree(shared_scene() / "joint", tmp_path / "out")
    before = sorted((tmp_path / "out").rglob("*"))
    script = write_script(tmp_path, shots=SCRIPT["shots"][:1])
    result = sample(tmp_path / "out", script=str(script))
    check_refused(result, "manifest.json: script.shots", "expected the same, or another folder")
    assert sorted((tmp_path / "out").rglob("*")) == before
