"""Reading given pictures and writing scenes, with real files and a codec that only folds pixels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from einops import rearrange
from PIL import Image
from safetensors.numpy import load_file

from lct_jax.config import SamplingConfig
from lct_jax.config.network import make_network
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.media.video import read_video, write_video
from lct_jax.scene_files import SceneWriter, fit_size, read_given

MODEL = make_network(channels=3, patch=(1, 2, 2))
SAMPLING = SamplingConfig(frames=9, height=32, width=64)
CREDIT = "Film (c) somebody"


class FoldingCodec:
    """Keeps the first frame and then every fourth, as 8x8 means; it loses detail, but sizes and order are right."""

    identity, channels, stride = "folding", 3, (4, 8, 8)

    def encode(self, video_TXYc: np.ndarray) -> np.ndarray:
        kept = video_TXYc[::4].astype(np.float32) / 255.0
        return rearrange(kept, "t (x a) (y b) c -> t x y c (a b)", a=8, b=8).mean(-1)

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        frames = np.repeat(latent_TXYC, 4, axis=0)[3:]
        frames = frames.repeat(8, axis=1).repeat(8, axis=2)
        return np.clip(frames * 255.0, 0, 255).astype(np.uint8)


def make_script(*given: str) -> Script:
    shots = [ShotPrompt(text=f"Shot number {n}.", given=path) for n, path in enumerate(given)]
    return Script(prompt=GlobalPrompt({"1": "A cube."}, "A desk.", "It sits."), shots=tuple(shots))


def read(script: Script) -> dict:
    return read_given(
        script, codec=FoldingCodec(), sampling=SAMPLING, multiple=(4, 16, 16), fps=12.0
    )


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((90, 160), (32, 64)), ((100, 100), (48, 48)), ((400, 100), (96, 16)), ((10, 300), (16, 240))],
)
def test_fit_size_keeps_the_area_and_never_gives_an_empty_side(size, fitted) -> None:
    assert fit_size(*size, area=32 * 64, multiple=(16, 16)) == fitted


def test_an_image_is_one_frame_at_its_own_aspect_ratio(tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (255, 0, 0)).save(tmp_path / "red.png")
    given = read(make_script("", str(tmp_path / "red.png")))
    assert list(given) == [1]
    assert given[1].frames.shape == (1, 48, 48, 3)
    np.testing.assert_allclose(given[1].latent[..., 0], 1.0)
    np.testing.assert_allclose(given[1].latent[..., 1:], 0.0)


def test_a_video_is_read_at_the_models_rate_and_cut_to_4n_plus_1(tmp_path: Path) -> None:
    ramp = np.stack([np.full((32, 64, 3), 5 * t, np.uint8) for t in range(48)])
    write_video(tmp_path / "ramp.mp4", ramp, 24.0)
    frames = read(make_script(str(tmp_path / "ramp.mp4"), ""))[0].frames
    assert frames.shape == (9, 32, 64, 3)  # 2 s are 24 frames at 12 fps, sampling.frames allows 9
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 10.0 * np.arange(9), atol=3.0)


@pytest.mark.parametrize(
    ("frames", "cut", "expected"),
    [
        (48, False, [30, 46]),  # 24 frames at 12 fps, the last nine of them
        (48, True, [0, 16]),
        (14, False, [4, 12]),  # 7 frames, of which 4n + 1 are kept at the end too
        (14, True, [0, 8]),
    ],
)
def test_a_given_video_keeps_its_end_where_the_next_shot_goes_on(
    tmp_path: Path, frames: int, cut: bool, expected: list[int]
) -> None:
    ramp = np.stack([np.full((32, 64, 3), 5 * t, np.uint8) for t in range(frames)])
    write_video(tmp_path / "ramp.mp4", ramp, 24.0)
    script = make_script(str(tmp_path / "ramp.mp4"), "")
    shots = (script.shots[0], dataclasses.replace(script.shots[1], cut=cut))
    kept = read(dataclasses.replace(script, shots=shots))[0].frames
    means = kept.mean((1, 2, 3))
    np.testing.assert_allclose(means[[0, -1]], np.multiply(5.0, expected), atol=3.0)
    assert len(kept) == (expected[1] - expected[0]) // 2 + 1


def test_a_given_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(InputError, match=r"words\.png: not a readable image"):
        read(make_script(str(tmp_path / "words.png"), ""))


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
