"""Tests pictures with a colour profile, transparency and orientation, in every kind of file that carries them."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from icc_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    make_cmyk_profile,
    make_grey_profile,
    make_rgb_profile,
)
from PIL import Image

from lct_jax.media import images
from lct_jax.media.images import read_moments

P3, ADOBE = make_rgb_profile(DISPLAY_P3, 2.2), make_rgb_profile(ADOBE_RGB, 2.2)
GREY, CMYK = make_grey_profile(1.0), make_cmyk_profile(yellow=(210, 126, 200))
# What red and green of sRGB are in these spaces is published in many places.
P3_RED, P3_GREEN, ADOBE_RED = (234, 51, 35), (117, 251, 76), (219, 0, 0)
LOSSLESS = {"a.png": {}, "a.webp": {"lossless": True}, "a.tif": {}}
LOSSY = {
    "a.jpg": {"quality": 100, "subsampling": 0},
    "a.avif": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.fixture(autouse=True)
def _warn_anew():
    images._warn.cache_clear()


def read(path: Path) -> tuple[int, ...]:
    """Returns the colour of the corner."""
    return tuple(read_moments(path, 12, longest=1)[0, 0, 0].tolist())


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_colours_of_phones_and_cameras_become_srgb(tmp_path, name):
    options = (LOSSLESS | LOSSY)[name]
    spaces = [
        (P3, P3_RED, (255, 0, 0)),
        (P3, P3_GREEN, (0, 255, 0)),
        (ADOBE, ADOBE_RED, (255, 0, 0)),
    ]
    for profile, stored, seen in spaces:
        image = Image.new("RGB", (16, 16), stored)
        found = read(save(image, tmp_path / name, icc_profile=profile, **options))
        np.testing.assert_allclose(found, seen, atol=12 if name == "a.jpg" else 15)
        assert np.abs(np.subtract(found, stored)).max() > 30


def test_a_picture_without_a_profile_is_read_as_it_is(tmp_path):
    assert read(save(Image.new("RGB", (2, 2), P3_RED), tmp_path / "a.png")) == P3_RED


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_are_read_by_the_profile_of_their_press(tmp_path, name):
    options = {"quality": 100} if name == "a.jpg" else {}
    colours = {}
    for ink in ((0, 0, 255, 0), (0, 0, 0, 0), (255, 0, 0, 0)):
        image = Image.new("CMYK", (16, 16), ink)
        colours[ink] = read(save(image, tmp_path / name, icc_profile=CMYK, **options))
    # Lab (82, -2, 72), paper, and an ink that prints black; Pillow takes the first for (255, 255, 0).
    np.testing.assert_allclose(
        list(colours.values()), [(229, 204, 54), (255,) * 3, (0,) * 3], atol=2
    )


@pytest.mark.parametrize("level", [np.uint8(128), np.uint16(128 * 257)])
def test_grey_of_8_and_16_bits_has_profiles_too(tmp_path, level):
    image = Image.fromarray(np.full((4, 4), level))
    # Linear light of 128/255 is level 188 of sRGB.
    assert read(save(image, tmp_path / "a.png", icc_profile=GREY)) == (188, 188, 188)
    # A grey image that was made of a coloured one has the profile of that.
    linear = make_rgb_profile(DISPLAY_P3, 1.0)
    assert read(save(image, tmp_path / "a.png", icc_profile=linear)) == (188, 188, 188)


@pytest.mark.parametrize("mode", ["P", "RGBA", "PA"])
def test_palettes_and_transparency_keep_their_colours(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (*P3_RED, 128))
    if mode != "RGBA":
        image = Image.new("P", (4, 4), 0)
        image.putpalette(P3_RED)
    options = {"transparency": bytes([128])} if mode == "PA" else {}
    found = read(save(image, tmp_path / "a.png", icc_profile=P3, **options))
    # What lets half of the white ground through is converted before it is mixed.
    np.testing.assert_allclose(found, (255, 0, 0) if mode == "P" else (255, 127, 127), atol=1)


def test_every_frame_of_an_animation_is_converted(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (P3_RED, P3_GREEN, (0, 0, 0))]
    for name in ("a.png", "a.webp"):
        path = save(
            frames[0],
            tmp_path / name,
            save_all=True,
            append_images=frames[1:],
            duration=100,
            icc_profile=P3,
            **LOSSLESS[name],
        )
        found = read_moments(path, 10, longest=9)[:, 0, 0]
        np.testing.assert_allclose(found, [(255, 0, 0), (0, 255, 0), (0, 0, 0)], atol=12)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (b"no profile", "cannot open profile"),
        (P3[:300], "cannot build transform"),
        (CMYK, "found one for CMYK in an image of RGB"),
        (GREY, "found one for GRAY in an image of RGB"),
    ],
)
def test_a_broken_profile_is_named_once_and_left_out(tmp_path, caplog, profile, reason):
    frames = [Image.new("RGB", (8, 8), P3_RED), Image.new("RGB", (8, 8), P3_GREEN)]
    animated = {"save_all": True, "append_images": frames[1:], "duration": 100}
    path = save(frames[0], tmp_path / "a.png", icc_profile=profile, **animated)
    with caplog.at_level(logging.WARNING):
        found = read_moments(path, 10, longest=9)[:, 0, 0]
    assert found.tolist() == [list(P3_RED), list(P3_GREEN)]
    (message,) = caplog.messages
    assert message.startswith(f"{path}: its colour profile cannot be used ({reason}")
    assert message.endswith("it is read as sRGB")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, name, turn):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16, 0] = upright[:, 16:, 1] = 200
    # From 5 on, rows of the file are columns. The first row lies below or at the right (3, 4, 6 and 7), the first
    # column at the right or below (2, 3, 7 and 8) [EXIF 2.32, 4.6.4].
    stored = upright.swapaxes(0, 1) if turn > 4 else upright
    stored = stored[:: -1 if turn in (3, 4, 6, 7) else 1, :: -1 if turn in (2, 3, 7, 8) else 1]
    exif = Image.Exif()
    exif[0x0112] = turn
    path = save(Image.fromarray(stored), tmp_path / name, exif=exif, **(LOSSLESS | LOSSY)[name])
    np.testing.assert_allclose(read_moments(path, 12, longest=1)[0], upright, atol=6)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_with_damaged_exif_is_read(tmp_path, name, caplog):
    path = save(Image.new("RGB", (4, 2)), tmp_path / name, exif=b"Exif\0\0no EXIF")
    with caplog.at_level(logging.WARNING):
        assert read(path) == (0, 0, 0)
    assert all(str(path) in message for message in caplog.messages)


def test_a_transparent_level_of_16_bits_shows_the_white_ground(tmp_path):
    levels = np.array([[0, 20000, 40000]], np.uint16)
    path = save(Image.fromarray(levels), tmp_path / "grey.png", transparency=20000)
    assert read_moments(path, 12, longest=1)[0, 0, :, 0].tolist() == [0, 255, 156]
    colours = [(0x1234, 0x5678, 0x9ABC), (0, 0, 0xFFFF)]
    _write_png16(tmp_path / "colour.png", colours, clear=colours[0])
    found = read_moments(tmp_path / "colour.png", 12, longest=1)[0, 0]
    assert found.tolist() == [[255, 255, 255], [0, 0, 255]]


def test_an_animation_where_one_picture_is_taken_shows_its_first_frame(tmp_path, caplog):
    frames = [Image.new("RGB", (8, 8), (40 * n, 0, 0)) for n in range(1, 4)]
    # The picture for programs without animation is no frame of it.
    path = save(
        Image.new("RGB", (8, 8), "blue"),
        tmp_path / "a.png",
        save_all=True,
        append_images=frames,
        default_image=True,
        duration=100,
    )
    assert read_moments(path, 10, longest=9)[:, 0, 0, 0].tolist() == [40, 80, 120]
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        assert read(path) == (40, 0, 0)
    assert caplog.messages == [f"{path}: the picture is animated; its first frame is taken"]


def _write_png16(path: Path, row: list[tuple[int, ...]], clear: tuple[int, ...]) -> None:
    """Writes one row of 16 bits a channel with a transparent colour, which Pillow does not write."""
    chunk = lambda name, data: (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    )
    pixels = b"\0" + b"".join(struct.pack(">3H", *pixel) for pixel in row)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", len(row), 1, 16, 2, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">3H", *clear))
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )
