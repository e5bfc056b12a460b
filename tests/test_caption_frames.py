"""Tests the frames for captions: the requested ones are shown, and each frame of a film is decoded once."""

from __future__ import annotations

import numpy as np
import pytest
from footage_files import write_footage

from lct_jax.data.footage import caption_frames
from lct_jax.data.footage.caption_frames import iter_pictures, merge_pictures
from lct_jax.media.frames import iter_at_rate


@pytest.fixture
def decoded(monkeypatch):
    """Counts the frames that are decoded."""
    count = [0]

    def iter_counted(path, fps):
        for frame in iter_at_rate(path, fps):
            count[0] += 1
            yield frame

    monkeypatch.setattr(caption_frames, "iter_at_rate", iter_counted)
    return count


def write_grey(path, frames: int) -> None:
    """Writes a film whose frame n has the grey level 3 n."""
    grey = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 3
    write_footage(path, np.broadcast_to(grey, (frames, 16, 16, 3)))


def test_every_frame_is_decoded_once_however_many_scenes_there_are(tmp_path, decoded):
    write_grey(tmp_path / "a.mp4", 80)
    scenes = [[(start, start + 1)] for start in range(0, 61)]
    pictures = list(iter_pictures(tmp_path / "a.mp4", scenes, fps=12, count=1))
    assert decoded == [61]  # up to the last frame that is shown, where it was 61 * 62 / 2
    levels = [scene[0][0].mean() for scene in pictures]
    np.testing.assert_allclose(levels, 3 * np.arange(61), atol=2.5)


def test_scenes_may_overlap_and_come_in_any_order(tmp_path, decoded):
    write_grey(tmp_path / "a.mp4", 80)
    scenes = [[(20, 30), (30, 40)], [(0, 21)], [(20, 30)]]
    found = list(iter_pictures(tmp_path / "a.mp4", scenes[::2], fps=12, count=2))
    levels = [[[frame.mean() for frame in shot] for shot in scene] for scene in found]
    np.testing.assert_allclose(levels[0], [[69, 78], [99, 108]], atol=2.5)
    np.testing.assert_allclose(levels[1], [[69, 78]], atol=2.5)
    assert decoded == [37]


def test_decoding_stops_when_the_iterator_is_closed(tmp_path, decoded):
    write_grey(tmp_path / "a.mp4", 80)
    pictures = iter_pictures(tmp_path / "a.mp4", [[(0, 10)], [(70, 80)]], fps=12, count=1)
    next(pictures)
    pictures.close()
    assert decoded == [5]


def mark(number: int) -> np.ndarray:
    return np.full((2, 3, 3), number, np.uint8)


def test_frames_are_left_out_evenly_while_every_shot_keeps_one():
    shots = [[mark(10 * shot + n) for n in range(4)] for shot in range(3)]
    merged = merge_pictures(shots, 7)
    assert [text for text, _ in merged] == ["Shot 1 of 3:", "Shot 2 of 3:", "Shot 3 of 3:"]
    assert [[int(x[0, 0, 0]) for x in frames] for _, frames in merged] == [
        [1, 3],
        [11, 13],
        [21, 23],
    ]


def test_one_picture_shows_several_shots_where_shots_exceed_the_limit():
    shots = [[mark(10 * shot + n) for n in range(2)] for shot in range(5)]
    (first, (one,)), (second, (two,)) = merge_pictures(shots, 2)
    assert first == "Shots 1 to 3 of 5, one row of frames for each, from the top:"
    assert second == "Shots 4 to 5 of 5, one row of frames for each, from the top:"
    assert one[::2, ::3, 0].tolist() == [[0, 1], [10, 11], [20, 21]]
    assert two[::2, ::3, 0].tolist() == [[30, 31], [40, 41]]
