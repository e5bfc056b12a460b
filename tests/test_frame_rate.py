"""Tests times and frames: no shot holds a frame of a neighbour, at any rate, in any list, after any rounding."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage_files import write_footage

from benchmarks.cuts import count_leaks
from lct_jax.data.footage.find_videos import read_cut_list
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sources import iter_footage
from lct_jax.errors import InputError
from lct_jax.media.frame_rate import count_frames, find_counted, first_frame, read_rate, snap_time
from lct_jax.media.frames import iter_at_rate, iter_seen, read_own_rate

NTSC = Fraction(24000, 1001)


@pytest.mark.parametrize("rate", [NTSC, 24, 25, 30, 50, 60])
def test_no_shot_of_random_cuts_holds_a_frame_of_a_neighbour(rate):
    rounded, placed = count_leaks(Fraction(rate), cuts=2000, seed=1)
    assert placed == 0
    assert rounded > 300  # the same shots with rounded bounds


def test_a_frame_belongs_to_the_shot_that_is_on_screen_when_it_is_shown():
    """At 12 a second frames are taken at 1/48, 5/48, 9/48 s and so on."""
    assert [first_frame(Fraction(n, 48), Fraction(12)) for n in range(7)] == [0, 0, 1, 1, 1, 1, 2]
    assert count_frames(1, 3, counted=Fraction(24), fps=Fraction(12)) == (1, 2)
    assert count_frames(1, 2, counted=Fraction(24), fps=Fraction(12)) == (1, 1)
    same = [count_frames(n, n + 1, counted=NTSC, fps=NTSC) for n in range(1000)]
    assert same == [(n, n + 1) for n in range(1000)]


def test_rounded_rates_are_read_as_exact_fractions():
    assert read_rate(24000 / 1001) == NTSC
    assert read_rate(12.0) == 12
    assert read_rate(23.976) == Fraction(2997, 125)
    assert read_rate(1e-7) > 0
    for written in (23.976, 23.98, 23.97, 24000 / 1001):
        assert find_counted(written, NTSC, fps=12.0) == NTSC
    assert find_counted(24.0, NTSC, fps=12.0) == 24
    assert find_counted(30.0, Fraction(29995, 1000), fps=12.0) == 30  # of a phone, counted by time
    assert find_counted(23.976, Fraction(2997, 125), fps=12.0) == Fraction(2997, 125)
    assert find_counted(23.98, NTSC, fps=23.98) == Fraction(1199, 50)


def test_timestamps_snap_to_the_frame_they_were_rounded_from():
    tick = Fraction(1, 1000)
    for number in range(500):
        rounded = round(number / NTSC / tick) * tick
        assert snap_time(rounded, rate=NTSC, tick=tick) == number / NTSC
    assert snap_time(Fraction(1, 9), rate=NTSC, tick=tick) == Fraction(1, 9)  # 2.66 frames


@pytest.mark.parametrize("rate", [NTSC, Fraction(30000, 1001), Fraction(60)])
def test_a_copy_into_finer_ticks_keeps_the_rounding_of_the_first_container(rate):
    fine, coarse = Fraction(1, 16000), Fraction(1, 1000)
    for number in range(500):
        copied = round(number / rate / coarse) * coarse
        assert snap_time(copied, rate=rate, tick=fine) == number / rate


def write_film(folder: Path, suffix: str, rate: Fraction, lengths: list[int]) -> Path:
    """Writes a film of shots of one grey each: dark, middle and bright in turn."""
    grey = np.repeat(np.array([40, 120, 200] * len(lengths))[: len(lengths)], lengths)
    frames = np.broadcast_to(grey[:, None, None, None], (len(grey), 16, 16, 3)).astype(np.uint8)
    times = [float(number / rate) for number in range(len(grey))]
    return write_footage(folder / f"film{suffix}", frames, fps=rate, times=times)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(("rate", "written"), [(NTSC, 23.976), (NTSC, 23.98), (25, 25), (60, 60)])
def test_shots_of_a_scene_file_hold_their_own_frames_alone(tmp_path, suffix, rate, written):
    """The writer and Matroska round timestamps; a cut lies at every place between two frames that are shown."""
    lengths = np.random.default_rng(0).integers(5, 12, 60).tolist()
    path, ends = write_film(tmp_path, suffix, Fraction(rate), lengths), np.cumsum(lengths)
    shots = [
        {"frames": [int(end - length), int(end)], "prompt": "Grey."}
        for length, end in zip(lengths, ends, strict=True)
    ]
    about = {"characters": [], "environment": "", "story": "", "shots": shots}
    film = {"file": path.name, "title": "F", "credit": "C", "licence": "L", "fps": written}
    scene = {"id": "a", "split": "train", **about}
    scenes = {"format": "lct_jax.scenes/1", "film": film, "cast": {}, "scenes": [scene]}
    (tmp_path / "scenes.json").write_text(json.dumps(scenes))
    footage = iter_footage(load_scene_file(tmp_path / "scenes.json"), fps=12.0, size=(16, 16))
    count = 0
    for number, part in enumerate(footage):
        expected = (40, 120, 200)[number % 3]
        assert np.abs(part.frames.astype(int) - expected).max() < 10, number
        count += len(part.frames)
    assert count == sum(seen.shown for seen in iter_seen(path, 12.0))


def test_a_list_of_cuts_counts_as_a_scene_file_does(tmp_path):
    path = tmp_path / "a.cuts.json"
    shots = [[0, 33], [33, 34], [34, 35], [35, 100]]
    path.write_text(json.dumps({"format": "lct_jax.cuts/1", "fps": 24, "shots": shots}))
    cuts = read_cut_list(path, fps=12.0, own=Fraction(24))
    assert cuts.shots == ((0, 17), (17, 17), (17, 18), (18, 50))


def test_the_rate_of_a_video_is_exact(tmp_path):
    path = write_film(tmp_path, ".mkv", NTSC, [10, 10])
    assert abs(read_own_rate(path) - NTSC) < Fraction(1, 10)


def test_the_rate_of_a_video_whose_timestamps_are_rounded_is_the_one_that_was_meant(tmp_path):
    """FLV counts milliseconds and names no rate: FFmpeg's average of this one is 983/41."""
    path = write_film(tmp_path, ".flv", NTSC, [35, 35])
    assert read_own_rate(path) == NTSC


@pytest.mark.parametrize(("ticks", "rate"), [(30, 30), (24, 24), (60, 30)])
def test_uneven_frames_on_a_coarse_clock_are_shown_when_they_begin(tmp_path, ticks, rate):
    """A screen recorder leaves out what does not change, and counts time in whole frames of its own rate."""
    path, tick = tmp_path / "a.mp4", Fraction(1, ticks)
    begins = np.flatnonzero(np.random.default_rng(0).random(120) < 0.4).tolist()
    begins = [place - begins[0] for place in begins]
    options = {"video_track_timescale": str(ticks)}
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream("libx264", rate=rate)
        stream.width = stream.height = 16
        stream.pix_fmt, stream.options = "yuv420p", {"bf": "0", "crf": "1"}
        stream.codec_context.time_base = tick
        for number, begin in enumerate(begins):
            grey = np.full((16, 16, 3), 5 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = begin * ticks // rate, tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    shown = [round(float(frame.mean()) / 5) for frame in iter_at_rate(path, float(rate))]
    expected = np.searchsorted(begins, np.arange(begins[-1] + 1), side="right") - 1
    assert shown[: len(expected)] == expected.tolist()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shots": [[0, 48], [40, 60]]}, "shots[1]: found [40, 60], expected shots in order"),
        ({"shots": [[5, 5]]}, "shots[0]: found [5, 5], expected 0 <= start < end (end is the"),
        ({"shots": [[0, True]]}, "shots[0][1]: found True, expected a whole number"),
        ({"shots": []}, "found no shot, expected at least one"),
        ({"scenes": [[[0, 4]]]}, "expected either shots or scenes"),
        ({"fps": 0}, "fps: found 0.0, expected a number above 0"),
        ({"fps": 1e7}, "fps: found 10000000.0, expected a number below 1,000,000"),
        ({"cut": 24}, "top level: unknown key 'cut', expected one of format, fps, shots"),
    ],
)
def test_a_bad_list_of_cuts_is_refused_with_file_and_field(tmp_path, changes, expected):
    path = tmp_path / "a.cuts.json"
    good = {"format": "lct_jax.cuts/1", "fps": 24, "shots": [[0, 48]]}
    path.write_text(json.dumps(good | changes))
    with pytest.raises(InputError) as caught:
        read_cut_list(path, fps=12.0, own=Fraction(24))
    assert str(caught.value).startswith(f"{path}: {expected}")
