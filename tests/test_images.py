"""Tests images of more than 8 bits, and animated ones on a clock."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lct_jax.errors import InputError
from lct_jax.media.images import read_moments

RAMP = np.linspace(0, 1, 16)[None].repeat(4, axis=0)
GREYS = list(range(0, 256, 17))


@pytest.mark.parametrize(
    ("levels", "name"),
    [
        ((RAMP * 65535).astype(np.uint16), "a.png"),
        ((RAMP * 65535).astype(np.uint16), "a.tif"),
        ((RAMP * 65535).astype(np.int32), "a.tif"),
        (RAMP.astype(np.float32), "a.tif"),
        ((RAMP * 255).astype(np.float32), "a.tif"),
        ((RAMP * 65535).astype(np.float32), "a.tif"),
    ],
)
def test_grey_of_any_depth_reaches_from_black_to_white(tmp_path, levels, name):
    Image.fromarray(levels).save(tmp_path / name)
    image = read_moments(tmp_path / name, 12, longest=1)[0]
    assert (image.dtype, image.shape) == (np.uint8, (4, 16, 3))
    for channel in range(3):
        assert image[2, :, channel].tolist() == GREYS


@pytest.mark.parametrize("level", [np.nan, -1.0, 1e6])
def test_levels_out_of_range_are_refused(tmp_path, level):
    Image.fromarray(np.full((4, 4), level, np.float32)).save(tmp_path / "a.tif")
    expected = (
        r"a\.tif: not a readable image \(found levels from .*, expected 0 to 1, 255 or 65535\)"
    )
    with pytest.raises(InputError, match=expected):
        read_moments(tmp_path / "a.tif", 12, longest=1)[0]


@pytest.mark.parametrize(
    ("name", "options"), [("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {})]
)
def test_frames_of_an_animation_follow_its_durations(tmp_path, name, options):
    pictures = [Image.new("RGB", (32, 24), (40 * n, 0, 0)) for n in range(6)]
    shown = {"duration": [100, 200, 100, 100, 300, 100], "save_all": True, "loop": 0}
    pictures[0].save(tmp_path / name, append_images=pictures[1:], **shown, **options)
    frames = read_moments(tmp_path / name, 10, longest=99)
    assert frames.shape == (9, 24, 32, 3)
    assert frames[:, 0, 0, 0].tolist() == [0, 40, 40, 80, 120, 160, 160, 160, 200]
    assert read_moments(tmp_path / name, 10, longest=4).shape[0] == 4
    assert read_moments(tmp_path / name, 12, longest=1)[0][0, 0].tolist() == [0, 0, 0]


def test_a_still_image_is_one_frame(tmp_path):
    Image.new("RGB", (32, 24), (200, 0, 0)).save(tmp_path / "a.gif")
    assert read_moments(tmp_path / "a.gif", 12, longest=9).shape == (1, 24, 32, 3)
    pages = [Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert read_moments(tmp_path / "pages.tif", 12, longest=9).shape == (1, 8, 8, 3)
