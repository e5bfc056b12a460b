"""Writing scenes as real files, with the codec that only folds pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file
from test_conditions import SAMPLING, FoldingCodec, make_script, read

from lct_jax.directing.prompts import ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.media.video import read_video
from lct_jax.scene_files.writer import SceneWriter

CREDIT = "Film (c) somebody"


def test_the_film_has_what_is_shown_and_no_frame_twice(tmp_path: Path) -> None:
    shots = (
        ShotPrompt("a"),
        ShotPrompt("b", cut=False, overlap=5),
        ShotPrompt("c", shown=False),
        ShotPrompt("d", size=(32, 32)),
    )
    writer = SceneWriter(tmp_path, Script(None, shots), given={}, fps=12.0, credit=CREDIT)
    for number, width in enumerate((64, 64, 64, 32)):
        frames = np.full((9, 32, width, 3), 50 * number, np.uint8)
        writer.add(number, latent=np.zeros((3, 4, 8, 3), np.float32), frames=frames)
    writer.finish(mode="joint", sampling=SAMPLING)
    film = read_video(tmp_path / "scene.mp4").frames
    assert len(film) == 9 + 4 + 9
    middle = film[:, :, film.shape[2] // 2].mean((1, 2))
    np.testing.assert_allclose(middle, [0] * 9 + [50] * 4 + [150] * 9, atol=3.0)
    np.testing.assert_allclose(film[-1][:, :8], 0, atol=3.0)  # black beside the narrower shot


def test_the_writer_writes_shots_at_once_and_then_the_scene(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), (0, 0, 255)).save(tmp_path / "blue.png")
    script = make_script(str(tmp_path / "blue.png"), "", "")
    writer = SceneWriter(
        tmp_path / "out",
        script,
        given=read(script),
        fps=12.0,
        credit=CREDIT,
    )
    latents = {n: np.full((2, 4, 8, 3), n / 4, np.float32) for n in (1, 2)}
    codec = FoldingCodec()
    first = writer.add(1, latent=latents[1], frames=codec.decode(latents[1]))
    assert first == tmp_path / "out/shots/shot_02.mp4"
    assert first.exists()  # before the scene is done: a crash later loses nothing
    writer.add(2, latent=latents[2], frames=codec.decode(latents[2]))
    paths = writer.finish(mode="joint", sampling=SAMPLING)

    scene = read_video(tmp_path / "out/scene.mp4")
    assert scene.frames.shape[0] == 5 + 5  # the given still leads the scene but is no part of it
    means = scene.frames.mean((1, 2, 3))
    np.testing.assert_allclose(means[:5], 63.75, atol=3.0)
    np.testing.assert_allclose(means[5:], 127.5, atol=3.0)
    saved = load_file(tmp_path / "out/latents.safetensors")
    assert sorted(saved) == ["shot_01", "shot_02", "shot_03"]
    np.testing.assert_array_equal(saved["shot_03"], latents[2])
    with Image.open(tmp_path / "out/storyboard.png") as board:
        assert board.info["Comment"] == CREDIT
    made = json.loads((tmp_path / "out/sample.json").read_text())
    assert (made["mode"], made["sampling"]["frames"], made["credit"]) == ("joint", 9, CREDIT)
    assert sorted(path.name for path in paths) == [
        "latents.safetensors",
        "sample.json",
        "scene.mp4",
        "storyboard.png",
    ]
