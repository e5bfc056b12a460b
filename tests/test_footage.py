"""Tests footage at a fixed rate: which frame is shown when, at any rate, and the size of frames."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from footage_files import turn, write_footage, write_steady

from lct_jax.data.footage.find_videos import find_inputs
from lct_jax.media.frames import (
    Shape,
    aspect_error,
    fit_size,
    iter_at_rate,
    read_own_rate,
    read_shape,
)
from lct_jax.media.video import iter_frames

LEVELS = 8  # grey levels between one frame and the next, far more than H.264 changes


def number_frames(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Returns frames whose brightness is their number: uint8 [count, height, width, 3]."""
    grey = (16 + LEVELS * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, height, width, 3)).copy()


def read_numbers(path, fps: float) -> list[int]:
    """Returns the numbers of the frames that are shown at a rate."""
    return [round((float(frame.mean()) - 16) / LEVELS) for frame in iter_at_rate(path, fps)]


def test_footage_at_the_requested_rate_is_unchanged(tmp_path):
    path = write_footage(tmp_path / "a.mp4", number_frames(24), fps=12)
    for seen, stored in zip(iter_at_rate(path, 12), iter_frames(path), strict=True):
        np.testing.assert_array_equal(seen, stored)


@pytest.mark.parametrize(
    ("fps", "count", "expected"),
    [
        (24, 24, list(range(0, 24, 2))),
        (5, 5, [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4]),
        (60, 28, [1, 6, 11, 16, 21, 26]),
        (30, 20, [0, 3, 5, 8, 10, 13, 15, 18]),
    ],
)
def test_other_rates_are_converted_to_twelve_a_second(tmp_path, fps, count, expected):
    """Frame n is the one on screen a quarter of a frame after n / 12 s."""
    path = write_footage(tmp_path / "a.mp4", number_frames(count), fps=fps)
    assert read_numbers(path, 12) == expected
    times = (np.arange(len(expected)) + 0.25) / 12
    assert [int(time * fps) for time in times] == expected


@pytest.mark.parametrize(
    ("suffix", "codec", "fps", "kind"),
    [
        (".mov", "prores_ks", 25, None),
        (".qt", "libx264", 12, "mov"),
        (".3gp", "mpeg4", 12, None),
        (".3g2", "libx264", 12, None),
        (".f4v", "libx264", 12, None),
        (".webm", "libvpx-vp9", 12, None),
        (".avi", "mpeg4", 12, None),
        (".divx", "mpeg4", 12, "avi"),
        (".wmv", "wmv2", 12, None),
        (".asf", "msmpeg4v3", 12, None),
        (".mxf", "mpeg2video", 25, None),
        # The container is written with the times of decoding in place of those of display.
        (".mxf", "libx264", 25, None),
        (".dv", "dvvideo", 25, None),
        (".ogv", "libvpx", 12, "ogg"),
        (".m2ts", "libx264", 12, None),
        (".MTS", "libx264", 12, "mpegts"),
        (".m2t", "mpeg2video", 25, "mpegts"),
        (".mpeg", "mpeg1video", 25, None),
        (".vob", "mpeg2video", 25, None),
    ],
)
def test_every_container_is_read(tmp_path, suffix, codec, fps, kind):
    size = (576, 720) if codec == "dvvideo" else (32, 48)
    path, frames = tmp_path / f"a{suffix}", number_frames(12, *size)
    # Frames are stored in another order than they are shown in.
    options = {"sc_threshold": "0", "b_strategy": "0"} if codec == "libx264" else {}
    write_steady(path, frames, fps=fps, codec=codec, options=options, format=kind)
    assert read_own_rate(path) == fps
    assert read_numbers(path, fps) == list(range(12))
    (row,) = find_inputs(tmp_path, out=tmp_path / "set")
    assert not row.problem


def test_variable_rate_goes_by_timestamps(tmp_path):
    times = [0.0, 0.05, 0.1, 0.5, 1.0, 1.05]
    path = write_footage(tmp_path / "a.mkv", number_frames(6), times=times)
    seen = read_numbers(path, 12)
    expected = [int(np.searchsorted(times, (n + 0.25) / 12, side="right")) - 1 for n in range(12)]
    assert seen[:12] == expected == [0, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]


def test_footage_that_starts_late_starts_at_once(tmp_path):
    path = write_footage(tmp_path / "a.mkv", number_frames(6), times=[5 + n / 12 for n in range(6)])
    assert read_numbers(path, 12) == [0, 1, 2, 3, 4, 5]


def test_a_single_frame_is_shown_once(tmp_path):
    assert read_numbers(write_footage(tmp_path / "a.mp4", number_frames(1), fps=60), 12) == [0]


def test_shapes_are_those_of_display(tmp_path):
    frames = number_frames(2)
    wide = write_footage(tmp_path / "wide.mkv", frames, pixel_aspect=Fraction(4, 3))
    assert read_shape(wide) == Shape(height=32, width=64)
    turned = turn(write_footage(tmp_path / "turned.mp4", frames))
    assert read_shape(turned) == Shape(height=48, width=32)
    assert next(iter_at_rate(turned, 12)).shape == (48, 32, 3)


@pytest.mark.parametrize(
    "shape",
    [(90, 160), (480, 480), (1080, 1920), (1920, 1080), (100, 400), (400, 100), (817, 1920)],
)
def test_area_is_kept_and_the_stretch_is_bounded(shape):
    """Each side is rounded by at most 8 pixels, which bounds the error of the ratio."""
    height, width = fit_size(*shape, area=480 * 480, multiple=(16, 16))
    assert height % 16 == width % 16 == 0
    ideal = np.sqrt(480 * 480 * np.array([shape[0] / shape[1], shape[1] / shape[0]]))
    bound = (1 + 8 / ideal[0]) / (1 - 8 / ideal[1]) - 1
    assert aspect_error(Shape(*shape), (height, width)) <= max(
        bound, (1 + 8 / ideal[1]) / (1 - 8 / ideal[0]) - 1
    )
    assert height * width == pytest.approx(480 * 480, rel=0.05)


def test_stretch_of_a_known_case():
    assert aspect_error(Shape(90, 160), (80, 144)) == pytest.approx(1.8 / (16 / 9) - 1)
    assert aspect_error(Shape(144, 80), (160, 90)) == pytest.approx(1.8 / (16 / 9) - 1)
