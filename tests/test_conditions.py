"""What is given to a scene, read from real files with a codec that only folds pixels, and the sizes of shots."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from einops import rearrange
from PIL import Image

from lct_jax.config import SamplingConfig
from lct_jax.config.network import make_network
from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.script import CastPicture, Script
from lct_jax.errors import InputError
from lct_jax.media.frames import fit_size
from lct_jax.media.video import write_video
from lct_jax.sampling.request import ShotLatents
from lct_jax.scene_files.conditions import ConditionReader, Conditions
from lct_jax.tensors import save_tensors

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
    shots = [
        ShotPrompt(text=f"Shot number {n}.", given=Condition(path) if path else None)
        for n, path in enumerate(given)
    ]
    return Script(prompt=GlobalPrompt({"1": "A cube."}, "A desk.", "It sits."), shots=tuple(shots))


def read(script: Script) -> dict:
    return read_all(script).given


def read_all(script: Script, sampling: SamplingConfig = SAMPLING) -> Conditions:
    reader = ConditionReader(
        codec=FoldingCodec(), sampling=sampling, multiple=(4, 16, 16), fps=12.0
    )
    return reader.read(script)


def read_shot(sampling: SamplingConfig = SAMPLING, **fields: object) -> ShotLatents:
    """Returns what is known of a shot, the only one of its scene."""
    return read_all(Script(None, (ShotPrompt("a", **fields),)), sampling).shots[0]


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


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_a_moving_picture_of_a_character_is_its_first_frame(tmp_path: Path, name: str) -> None:
    frames = [np.full((32, 64, 3), 20 * n, np.uint8) for n in range(9)]
    if name == "a.mp4":
        write_video(tmp_path / name, frames, 12.0)
    else:
        first, *rest = map(Image.fromarray, frames)
        first.save(tmp_path / name, save_all=True, append_images=rest, duration=80)
    picture = CastPicture(Condition(str(tmp_path / name)), "A cube.", character="1")
    script = dataclasses.replace(make_script(""), pictures=(picture,))
    script = dataclasses.replace(script, shots=(ShotPrompt("Character 1 rolls."),))
    given = read(script)[1].frames
    assert given.shape == (1, 32, 64, 3)
    assert given.max() <= 1


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


@pytest.mark.parametrize(
    ("shot", "grid"),
    [
        ({}, (3, 4, 8)),  # the config's nine frames of 32 x 64
        ({"frames": 5}, (2, 4, 8)),
        ({"seconds": 1.1}, (4, 4, 8)),  # 13.2 frames at 12 a second
        ({"seconds": 0.01}, (1, 4, 8)),
        ({"size": (16, 48)}, (3, 2, 6)),
        ({"aspect": "1:1"}, (3, 6, 6)),  # 48 x 48 has about the area of 32 x 64
    ],
)
def test_sizes_are_those_of_the_script_or_the_config(shot, grid) -> None:
    assert read_shot(**shot).grid == grid


@pytest.mark.parametrize(
    ("sampling", "shot", "expected"),
    [
        ({"height": 40}, {}, "sampling.height: found 40, expected a multiple of 16"),
        ({"width": 72}, {}, "sampling.width: found 72, expected a multiple of 16"),
        (
            {},
            {"size": (32, 72)},
            "script: shots[0].width: found 72, expected a multiple of 16",
        ),
        (
            {},
            {"seconds": 1000.0},
            "script: shots[0].seconds: found 12,001, expected at most 1,001 frames: divide it into "
            "shots with 'overlap'",
        ),
        (
            {},
            {"seconds": 1e308},
            "script: shots[0].seconds: found 1,000,000,001, expected at most 1,001 frames: divide it "
            "into shots with 'overlap'",
        ),
    ],
)
def test_a_size_that_does_not_fit_is_named(sampling, shot, expected) -> None:
    with pytest.raises(InputError) as caught:
        read_shot(dataclasses.replace(SAMPLING, **sampling), **shot)
    assert str(caught.value) == expected


def save_ramp(path: Path, frames: int = 24) -> Condition:
    """Writes a video whose frame n is grey of 10 n, at 12 frames a second."""
    ramp = np.stack([np.full((32, 64, 3), 10 * t, np.uint8) for t in range(frames)])
    write_video(path, ramp, 12.0)
    return Condition(str(path))


def test_the_first_frames_of_a_shot_are_the_end_of_a_video_and_the_last_its_beginning(tmp_path):
    ramp = save_ramp(tmp_path / "ramp.mp4")
    first, last = (
        dataclasses.replace(ramp, frames=5, time=0.05),
        dataclasses.replace(ramp, frames=8),
    )
    shot = read_shot(frames=17, first=first, last=last)
    assert shot.grid == (5, 4, 8)
    assert [(part.start, part.time, len(part.latent)) for part in shot.held] == [
        (0, 0.05, 2),
        (3, None, 2),
    ]
    # The codec keeps the first frame and then every fourth: frames 19 and 23, and behind one more 3 and 7.
    found = [part.latent.mean((1, 2, 3)) * 25.5 for part in shot.held]
    np.testing.assert_allclose(found, [[19, 23], [3, 7]], atol=0.3)


def test_a_picture_gives_a_shot_its_shape(tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (255, 0, 0)).save(tmp_path / "red.png")
    red = Condition(str(tmp_path / "red.png"))
    shot = read_shot(first=red, last=red)
    assert shot.grid == (3, 6, 6)
    assert [(part.start, len(part.latent)) for part in shot.held] == [(0, 1), (2, 1)]
    np.testing.assert_allclose(shot.held[1].latent[..., 0], 1.0)


def test_a_shot_that_overlaps_the_one_before_has_its_shape(tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (255, 0, 0)).save(tmp_path / "red.png")
    script = make_script(str(tmp_path / "red.png"), "")
    shots = (script.shots[0], ShotPrompt("b", cut=False, frames=17, overlap=5))
    found = read_all(dataclasses.replace(script, shots=shots)).shots[1]
    assert (found.grid, found.overlap) == ((5, 6, 6), 2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"frames": 1}, "shots[0]: found 1 frames, of which 1 of 1 latent frames are held"),
        ({"first": (25, 5)}, "shots[0].first: found a video of 24 frames, expected at least 25"),
        ({"last": (4, 4), "square": True}, "shots[0].last: found 64x32, expected about the shape"),
    ],
)
def test_frames_that_cannot_be_held_are_refused(tmp_path: Path, fields, expected) -> None:
    ramp = save_ramp(tmp_path / "ramp.mp4")
    Image.new("RGB", (99, 99)).save(tmp_path / "square.png")
    first = dataclasses.replace(ramp, frames=fields.get("first", (1,))[0])
    if "square" in fields:
        first = Condition(str(tmp_path / "square.png"))
    last = dataclasses.replace(ramp, frames=4) if "last" in fields else None
    with pytest.raises(InputError) as caught:
        read_shot(frames=fields.get("frames", 33), first=first, last=last)
    assert str(caught.value).startswith(f"script: {expected}")


def test_latents_are_given_back_by_the_name_of_the_shot_or_another(tmp_path: Path) -> None:
    latents = {f"shot_0{n}": np.full((2, 4, 8, 3), n / 4, np.float32) for n in (1, 2)}
    save_tensors(tmp_path / "latents.safetensors", latents)
    given = Condition(str(tmp_path / "latents.safetensors"))
    shots = (
        ShotPrompt("a", given=given),
        ShotPrompt("b", given=dataclasses.replace(given, tensor="shot_01", time=0.3)),
        ShotPrompt("c"),
    )
    found = read_all(Script(None, shots))
    for number, time in ((0, None), (1, 0.3)):
        np.testing.assert_array_equal(found.shots[number].given, latents["shot_01"])
        assert found.shots[number].time == time
        assert found.given[number].frames.shape == (5, 32, 64, 3)
    shots = (*shots[:2], ShotPrompt("c", given=given))
    with pytest.raises(InputError, match=r"no tensor 'shot_03', expected one of shot_01, shot_02"):
        read_all(Script(None, shots))


@pytest.mark.parametrize(
    ("latent", "expected"),
    [
        (np.zeros((0, 4, 8, 3), np.float32), r"found shape \(0, 4, 8, 3\), expected latents"),
        (np.full((2, 4, 8, 3), np.nan, np.float32), "found NaN or infinity, expected finite"),
        (None, "found no tensor 'shot_01', expected a file with latents"),
    ],
    ids=["empty", "nan", "none"],
)
def test_latents_that_cannot_be_held_are_named(tmp_path: Path, latent, expected: str) -> None:
    path = tmp_path / "latents.safetensors"
    save_tensors(path, {} if latent is None else {"x": latent})
    with pytest.raises(InputError, match=f"^script: shots\\[0\\].given: {path}: .*{expected}"):
        read_all(Script(None, (ShotPrompt("a", given=Condition(str(path))), ShotPrompt("b"))))


def test_transparent_parts_are_shown_over_white_and_pictures_stand_upright(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (64, 128), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = (
        6  # to be turned a quarter clockwise: what is stored at the top is shown at the right
    )
    picture.save(tmp_path / "turned.png", exif=exif)
    frames = read(make_script(str(tmp_path / "turned.png"), ""))[0].frames
    assert frames.shape == (1, 32, 64, 3)
    assert frames[0, :, :40].min() > 250
    assert frames[0, :, 56:].max() < 5
