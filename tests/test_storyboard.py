"""Tests the page of a scene: the frames it shows, wrapped words, and a row for every shot."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.errors import InputError
from lct_jax.media.storyboard import CastImage, StoryboardRow, draw_storyboard, pick_evenly


def _row(height: int, width: int, count: int = 9, color=(250, 0, 0)) -> StoryboardRow:
    frames = np.full((count, height, width, 3), color, np.uint8)
    return StoryboardRow(frames=frames, prompt="Rain.", fps=12)


def test_picks_first_last_and_evenly_between():
    assert pick_evenly(11, 6) == [0, 2, 4, 6, 8, 10]
    assert pick_evenly(3, 6) == [0, 1, 2]
    assert pick_evenly(1, 6) == [0]


def test_page_holds_rows_of_every_aspect_ratio(tmp_path):
    path = tmp_path / "new" / "board.png"
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    sizes = [(9, 16), (16, 16), (16, 9)]
    rows = [_row(*size, color=color) for size, color in zip(sizes, colors, strict=True)]
    prompt = GlobalPrompt({"1": "A man."}, "A quay.", "")
    draw_storyboard(path, "Title", rows, credit="By us", prompt=prompt)
    with Image.open(path) as page:
        assert page.text["Comment"] == "By us"
        pixels = np.array(page)
    tops = []
    for color in colors:
        rows_seen, columns_seen = np.nonzero((pixels == color).all(axis=-1))
        tops.append(rows_seen.min())
        # Every row fills the strip at about the height of a 16:9 one.
        assert 150 < np.ptp(rows_seen) < 230
        assert columns_seen.min() == 320
    assert tops == sorted(tops)
    assert [path.name for path in path.parent.iterdir()] == ["board.png"]


def test_pictures_of_the_cast_stand_whole_above_the_shots(tmp_path):
    colors = [(0, 250, 0), (0, 0, 250), (250, 250, 0)]
    sizes = [(64, 64), (90, 20), (20, 400)]
    names = ["Character 1", "Character " + "a_very_long_name" * 5, "the hall"]
    # With more than a row of others before them they go on in the next one.
    others = [CastImage("Character 2", np.full((9, 16, 3), 90, np.uint8))] * 9
    cast = [
        CastImage(name, np.full((*size, 3), color, np.uint8))
        for name, size, color in zip(names, sizes, colors, strict=True)
    ]
    draw_storyboard(tmp_path / "a.png", "Title", [_row(9, 16)], cast=[*others, *cast])
    with Image.open(tmp_path / "a.png") as page:
        pixels = np.array(page)
    first_shot = np.nonzero((pixels == (250, 0, 0)).all(axis=-1))[0].min()
    for color, (height, width) in zip(colors, sizes, strict=True):
        seen = np.stack(np.nonzero((pixels == color).all(axis=-1)))
        shown_height, shown_width = np.ptp(seen, axis=1) + 1
        assert shown_height in (180, 420 * height // width)
        np.testing.assert_allclose(shown_width / shown_height, width / height, rtol=0.02)
        assert seen[0].max() < first_shot and seen[1].min() >= 320 and seen[1].max() < 2312


def test_refuses_what_cannot_be_drawn_or_written(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        draw_storyboard(tmp_path / "a.png", "Title", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        draw_storyboard(tmp_path / "file" / "a.png", "Title", [_row(9, 16)])
