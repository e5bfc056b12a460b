"""sample.py as a user runs it: stopped at any moment, it goes on; shots are taken again; a manifest gives all again."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from shared_folder import make_once
from test_programs import check_refused
from tiny_film import HEIGHT, WIDTH, Result, run_program, start_program
from tiny_generator import CODEC, write_weights

from lct_jax.media.video import read_video, write_video

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
UNCLOSED = re.compile(
    r"Exception ignored in: <_io\.[^\n]*\nTraceback [^\n]*\n(?: [^\n]*\n)*ResourceWarning: unclosed file [^\n]*\n"
)
CONTEXTS = {"joint": "full", "autoregressive": "full", "causal": "causal"}

DIRECTED = """\
format: lct_jax.script/2
characters:
  Tom: {text: A man in red., images: [face.png]}
places:
  quay: {images: [quay.png]}
environment: A harbour.
sampler: {steps: 2, history: relevant, frames: 5, window: 9}
shots:
- prompt: A boat leaves.
  given: boat.mp4
- prompt: The boat is far away.
  cut: false
  overlap: 1
- prompt: Fog comes.
  first: quay.png
  last: face.png
  frames: 9
- prompt: A close-up of Character Tom.
  given: face.png
- prompt: Character Tom waits.
  place: quay
  key: true
  frames: 1
- prompt: Character Tom leaves.
  place: quay
  refers: [5]
"""


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


@pytest.mark.parametrize("mode", ["autoregressive", "causal"])
def test_a_program_that_is_killed_goes_on_to_the_same_latents(tmp_path, mode):
    program = arguments(tmp_path, mode)
    script = f"--script={tmp_path / mode}.yaml"
    check_done(run_program(*program, script, f"--out={tmp_path / 'whole'}"))
    # It is stopped once the next shot is on disk, so that each start finds one more.
    for shots, number in ((1, signal.SIGKILL), (2, signal.SIGINT)):
        process = start_program(*program, script, f"--out={tmp_path / 'parts'}")
        found, deadline = (
            tmp_path / f"parts/latents/shot_0{shots}.safetensors",
            time.monotonic() + 300,
        )
        while not found.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        if number == signal.SIGINT:  # and once more, while it ends
            time.sleep(0.01)
            process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == (-number if number == signal.SIGKILL else 130), said
    # A signal within open() leaves a file unclosed, which Python says where warnings are errors, as here.
    assert "Traceback" not in UNCLOSED.sub("", said)
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


@pytest.mark.parametrize("mode", CONTEXTS)
def test_whatever_a_script_gives_is_sampled_with_and_shown_as_it_is(tmp_path, mode):
    """A video that goes on, first and last frames, pictures of the cast, a given picture, a still and a pool."""
    program, out = arguments(tmp_path, mode), tmp_path / "out"
    (tmp_path / "all.yaml").write_text(DIRECTED)
    for name, colour in (("face", "maroon"), ("quay", "navy")):
        Image.new("RGB", (WIDTH, HEIGHT), colour).save(tmp_path / f"{name}.png")
    boat = np.full((5, HEIGHT, WIDTH, 3), 60, np.uint8)
    for number, frame in enumerate(boat):
        frame[8:24, 4 * number : 4 * number + 16] = (200, 120, 40)
    write_video(tmp_path / "boat.mp4", boat, 12.0)
    check_done(
        run_program(*program, f"--script={tmp_path}/all.yaml", f"--mode={mode}", f"--out={out}")
    )
    shots = sorted(path.name for path in (out / "shots").iterdir())
    assert shots == ["shot_02.mp4", "shot_03.mp4", "shot_05.mp4", "shot_06.mp4"]
    lengths = {name: len(latent) for name, latent in load_file(out / "latents.safetensors").items()}
    assert [lengths[f"shot_{n:02d}"] for n in range(1, 7)] == [2, 2, 3, 1, 1, 2]
    film = read_video(out / "scene.mp4").frames
    assert len(film) == 5 + 4 + 9 + 1 + 5
    # The given video is in the film, and the given picture is not.
    scale = film.shape[1] // HEIGHT
    shown = film[:5, scale // 2 :: scale, scale // 2 :: scale]
    assert np.abs(shown.astype(int) - boat).mean() < 4
    made = json.loads((out / "manifest.json").read_text())["shots"]
    assert 5 in made["6"]["takes"][0]["saw"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["references", "shared_attention", "in_context", "image_to_video"])
def test_modes_after_other_systems_make_a_film_of_a_script(tmp_path, mode):
    program, out = arguments(tmp_path, "joint"), tmp_path / "out"
    script = f"--script={tmp_path}/joint.yaml"
    check_done(
        run_program(*program, script, f"--mode={mode}", "--long_prompts=cut", f"--out={out}")
    )
    shots = [f"shot_0{number}.mp4" for number in range(1, 5)]
    assert sorted(path.name for path in (out / "shots").iterdir()) == shots
    assert json.loads((out / "manifest.json").read_text())["made"]["mode"] == mode
    assert (out / "scene.mp4").exists() and (out / "storyboard.png").exists()
