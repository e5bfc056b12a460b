"""Tests films whose timestamps restart, jump or leave gaps; streams beside the film; and lost packets."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from footage_files import draw_shots, write_footage

from lct_jax.config import FootageConfig
from lct_jax.data.footage.cuts import FrameStats
from lct_jax.data.footage.takes import find_takes
from lct_jax.errors import InputError
from lct_jax.media.clock import Clock
from lct_jax.media.frame_rate import first_frame
from lct_jax.media.frames import Shape, iter_at_rate, read_shape
from lct_jax.media.video import iter_frames


def place(times, *, strict: bool, length: float | None = 0.1) -> tuple[list[float], Clock]:
    clock = Clock(strict=strict)
    exact = lambda value: None if value is None else Fraction(value).limit_denominator(1000)
    return [float(clock.place(exact(time), exact(length))[0]) for time in times], clock


@pytest.mark.parametrize(
    ("times", "strict", "begins", "breaks", "counts"),
    [
        ([5.0, 5.1, 5.2], False, [0.0, 0.1, 0.2], [], (0, 0)),
        ([5.0, 5.1, 0.0, 0.1], False, [0.0, 0.1, 0.2, 0.3], [0.2], (1, 0)),  # restarts
        ([0.0, 0.1, 600.2, 600.3], True, [0.0, 0.1, 0.2, 0.3], [0.2], (1, 0)),  # jumps
        ([0.0, 0.1, 600.2], False, [0.0, 0.1, 600.2], [], (0, 0)),  # a picture shown for long
        ([0.0, 0.1, 5.2], True, [0.0, 0.1, 5.2], [0.2, 5.2], (0, 1)),  # lost
        ([0.0, 0.1, 5.2], False, [0.0, 0.1, 5.2], [], (0, 0)),
        ([0.0, 0.2, 0.15, 0.3], False, [0.0, 0.2, 0.2, 0.3], [], (0, 0)),  # goes back a little
        ([None, None, 7.2, 7.3], False, [0.0, 0.1, 0.2, 0.3], [], (0, 0)),
        ([9.0, 0.0, 600.0, 0.0], False, [0.0, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3], (3, 0)),
    ],
)
def test_clock_places_frames_in_increasing_time(times, strict, begins, breaks, counts):
    found, clock = place(times, strict=strict)
    assert found == begins
    assert [float(time) for time in clock.breaks] == breaks
    assert (clock.restarts, clock.losses) == counts


def test_clock_describes_restarts_and_losses():
    assert Clock().describe() == ""
    assert Clock(restarts=1, losses=2).describe() == (
        "timestamps begin anew or jump at 1 place, joined there; frames are missing at 2 places"
    )


def look(path, fps: float = 12) -> tuple[list[np.ndarray], Clock]:
    clock = Clock()
    return list(iter_at_rate(path, fps, clock=clock)), clock


def test_a_recording_that_jumps_is_joined(tmp_path):
    frames, times = draw_shots((20, 20), seed=1), [n / 12 + 600 * (n >= 20) for n in range(40)]
    seen, clock = look(write_footage(tmp_path / "jump.ts", frames, times=times))
    assert len(seen) == 39  # this writer gives the last one the length of a tick
    assert np.abs(np.stack(seen).astype(int) - frames[:39]).mean() < 6
    assert [first_frame(time, Fraction(12)) for time in clock.breaks] == [20]
    assert (clock.restarts, clock.losses) == (1, 0)


def test_concatenated_recordings_are_joined(tmp_path):
    """Timestamps and packet counters restart, so the last packet before the seam seems damaged."""
    frames, parts = draw_shots((20, 20), seed=1), b""
    for half in (frames[:20], frames[20:]):
        parts += write_footage(tmp_path / "part.ts", half).read_bytes()
    (tmp_path / "joined.ts").write_bytes(parts)
    seen, clock = look(tmp_path / "joined.ts")
    assert 36 <= len(seen) <= 40
    assert np.abs(np.stack(seen[:16]).astype(int) - frames[:16]).mean() < 6
    assert np.abs(np.stack(seen[-19:]).astype(int) - frames[20:39]).mean() < 6
    assert [first_frame(time, Fraction(12)) for time in clock.breaks] == [len(seen) - 19]
    assert clock.restarts == 1


def test_hours_without_a_frame_are_refused(tmp_path):
    times = [n / 12 + 7200 * (n >= 20) for n in range(40)]
    path = write_footage(tmp_path / "a.mkv", draw_shots((20, 20)), times=times)
    with pytest.raises(
        InputError, match=r"a\.mkv: timestamps jump ahead by 2\.0 hours at frame 20$"
    ):
        look(path)


def test_frames_after_a_lost_packet_are_left_out_up_to_the_next_key_frame(tmp_path):
    frames = draw_shots((20, 20, 20), height=96, width=128, seed=3)
    path = write_footage(tmp_path / "a.ts", frames)
    whole, data = look(path)[0], path.read_bytes()
    packets = [data[n : n + 188] for n in range(0, len(data), 188)]
    video = [n for n, packet in enumerate(packets) if (packet[1] & 31, packet[2]) == (1, 0)]
    lost = video[len(video) // 2]
    path.write_bytes(b"".join(packets[:lost] + packets[lost + 1 :]))
    seen, clock = look(path)
    for frame in seen:  # each is a frame of the whole film, and none was invented by the decoder
        assert min(np.abs(frame.astype(int) - other).mean() for other in whole) < 0.5
    assert clock.restarts == 0
    assert len(seen) < 60 or clock.losses == 1


def write_cover(path, frames) -> None:
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height = cover.width = 64
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        film = container.add_stream("libx264", rate=12)
        film.height, film.width = frames.shape[1:3]
        film.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 12)
        container.mux([*cover.encode(picture), *cover.encode(None)])
        for frame in frames:
            container.mux(film.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(film.encode(None))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_cover_art_is_ignored(tmp_path, name):
    write_cover(tmp_path / name, draw_shots((10,)))
    assert read_shape(tmp_path / name) == Shape(48, 64)
    assert len(list(iter_frames(tmp_path / name))) == 10


def join_sizes(tmp_path, sizes) -> None:
    data = b""
    for number, (height, width) in enumerate(sizes):
        frames = draw_shots((10,), height=height, width=width)
        times = [number * 10 / 12 + n / 12 for n in range(10)]
        data += write_footage(tmp_path / "part.ts", frames, times=times).read_bytes()
    (tmp_path / "a.ts").write_bytes(data)


def test_a_picture_that_changes_its_shape_is_refused(tmp_path):
    join_sizes(tmp_path, ((48, 64), (48, 80)))
    expected = r"a\.ts: the picture changes from 64x48 to 80x48 at frame \d+, expected one shape"
    with pytest.raises(InputError, match=expected):
        look(tmp_path / "a.ts")


def test_a_picture_that_changes_the_shape_of_its_pixels_is_refused(tmp_path):
    """Broadcasts change between 4:3 and 16:9 in this way, at one stored size."""
    data = b""
    for number, aspect in enumerate((Fraction(1), Fraction(4, 3))):
        times = [number * 10 / 12 + n / 12 for n in range(10)]
        part = write_footage(
            tmp_path / "part.ts", draw_shots((10,)), times=times, pixel_aspect=aspect
        )
        data += part.read_bytes()
    (tmp_path / "a.ts").write_bytes(data)
    expected = r"a\.ts: the picture changes from 64x48 to 85x48 at frame \d+, expected one shape"
    with pytest.raises(InputError, match=expected):
        look(tmp_path / "a.ts")


def test_a_picture_that_changes_its_size_alone_keeps_the_first_one(tmp_path):
    join_sizes(tmp_path, ((48, 64), (96, 128), (48, 64)))
    seen, _ = look(tmp_path / "a.ts")
    assert {frame.shape for frame in seen} == {(48, 64, 3)}
    assert 24 <= len(seen) <= 30  # packet counters restart at both seams


def test_a_long_still_within_a_take_is_cut_out():
    """The take moves for five seconds, stands still for fifty, and moves for five."""
    change = np.full(720, 2.0, np.float32)
    change[60:660] = 0.0
    thumb = np.random.default_rng(0).integers(100, 110, (720, 9, 16, 3)).astype(np.uint8)
    track = FrameStats(thumb, np.full(720, 90.0, np.float32), change, np.zeros(720, bool), ())
    takes = find_takes(track, FootageConfig(), size=(48, 64))
    assert takes.frames.tolist() == [[0, 60], [60, 660], [660, 720]]
    assert takes.reason.tolist() == [0, 3, 0]  # frozen
    change[60:660] = 2.0
    change[100:135] = 0.0  # a pause of less than three seconds is part of a shot
    assert find_takes(track, FootageConfig(), size=(48, 64)).frames.tolist() == [[0, 720]]
