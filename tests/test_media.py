"""Tests videos and images: a real round trip through H.264, and damaged or mislabelled files."""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from footage_files import turn
from PIL import Image

from lct_jax.errors import InputError
from lct_jax.media.frames import Shape, read_shape
from lct_jax.media.images import read_moments
from lct_jax.media.video import (
    probe_video,
    read_video,
    resize,
    write_video,
)


def _gradient(count: int, height: int, width: int) -> np.ndarray:
    t, x, y = np.meshgrid(range(count), range(height), range(width), indexing="ij")
    channels = (2 * x + 3 * t, 20 + y + t, 220 - x - y / 2)
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, _gradient(24, 48, 64), fps=12, credit="By us")
    return path


def test_round_trip_keeps_pictures_rate_and_credit(clip):
    video = read_video(clip)
    assert video.frames.shape == (24, 48, 64, 3)
    assert video.frames.dtype == np.uint8
    assert video.fps == 12
    assert _psnr(video.frames, _gradient(24, 48, 64)) > 35
    info = probe_video(clip)
    assert (info.height, info.width, info.frame_count) == (48, 64, 24)
    with av.open(str(clip)) as container:
        assert container.metadata["comment"] == "By us"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]


# Frames of noise that moves; the processors that x264 counts are those that the process may use.
_WRITE = """
import os, sys
import numpy as np
from lct_jax.media.video import write_video
os.sched_setaffinity(0, {int(number) for number in sys.argv[2].split()})
noise = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
write_video(sys.argv[1], (np.roll(noise, t, 1) for t in range(61)), 12, scale=6)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="processors can be chosen on Linux"
)
def test_the_same_frames_give_the_same_bytes_in_another_process_on_other_processors(tmp_path):
    every = sorted(os.sched_getaffinity(0))
    if len(every) == 1:
        pytest.skip("there is one processor")
    paths = [tmp_path / f"{number}.mp4" for number in range(2)]
    for path, allowed in zip(paths, (every[:1], every), strict=True):
        numbers = " ".join(map(str, allowed))
        subprocess.run([sys.executable, "-c", _WRITE, path, numbers], check=True)
    first, second = (path.read_bytes() for path in paths)
    assert first == second


def test_odd_sizes_repeat_their_edge(tmp_path):
    frames = _gradient(3, 33, 45)
    write_video(tmp_path / "odd.mp4", frames, fps=24000 / 1001)
    video = read_video(tmp_path / "odd.mp4")
    assert video.fps == pytest.approx(24000 / 1001)
    padded = np.pad(frames, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    assert _psnr(video.frames, padded) > 30


def test_nearest_upscaling_makes_blocks(tmp_path):
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[:, :, 8:] = 200
    write_video(tmp_path / "big.mp4", frames, fps=8, scale=4, upscaler="nearest")
    (frame,) = read_video(tmp_path / "big.mp4").frames
    assert frame.shape == (64, 64, 3)
    assert np.abs(frame - np.kron(frames[0], np.ones((4, 4, 1)))).max() < 12


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1, axes=(1, 2))),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2, axes=(1, 2))),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1, axes=(1, 2))),
        ((-1, 0, 0, 1), lambda p: p[:, :, ::-1]),  # a front camera
        ((1, 0, 0, -1), lambda p: p[:, ::-1]),
        ((0, 1, 1, 0), lambda p: p.swapaxes(1, 2)),
        ((0, -1, -1, 0), lambda p: np.rot90(p.swapaxes(1, 2), 2, axes=(1, 2))),
        ((0, 0, 0, 0), lambda p: p),  # says nothing
    ],
)
def test_a_rotated_or_mirrored_video_is_shown_upright(clip, matrix, shown):
    plain = read_video(clip).frames
    np.testing.assert_array_equal(read_video(turn(clip, matrix)).frames, shown(plain))
    assert read_shape(clip) == Shape(*shown(plain).shape[1:3])


def _claim_rest(data: bytes) -> bytes:
    """Returns a film whose pictures are in a box that goes to the end of the file, wherever that is."""
    size = data.index(b"mdat") - 4
    return data[:size] + bytes(4) + data[size + 4 :]


def _cut(data: bytes, keep: float) -> bytes:
    return data[: int(len(data) * keep)]


def _spoil(data: bytes) -> bytes:
    """Returns a film with changed bytes in the picture of its first frame, behind the encoder's own text."""
    start = data.index(b"mdat") + 780
    return (
        data[:start] + bytes(byte ^ 255 for byte in data[start : start + 20]) + data[start + 20 :]
    )


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda data: b"", "is empty (0 bytes)"),
        (lambda data: b"A letter, not a film.\n" * 40, "not a readable video"),
        (lambda data: _cut(data, 0.7), "is cut off, it ends before the end that it declares"),
        (lambda data: data[:-1], "is cut off, it ends before the end that it declares"),
        (lambda data: _claim_rest(data)[:-1], "damaged or cut off after frame"),
        (_spoil, "frame 0 is damaged"),
        (lambda data: data[: data.index(b"mdat") + 4], ": "),
        (lambda data: data[: data.index(b"moov") - 4], ": "),
    ],
)
def test_damaged_videos_are_refused_in_one_line(clip, capfd, damage, expected):
    clip.write_bytes(damage(clip.read_bytes()))
    with pytest.raises(InputError) as caught:
        read_video(clip)
    message = str(caught.value)
    assert message.startswith(f"{clip}: ")
    assert expected in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_video_that_lost_whole_frames_is_refused(clip):
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    last = max(packets, key=lambda packet: packet.pos)
    clip.write_bytes(_claim_rest(clip.read_bytes())[: last.pos])
    with pytest.raises(InputError, match=r"clip\.mp4: ends after 23 of the 24 frames"):
        read_video(clip)


def test_a_trimmed_video_is_whole_without_its_hidden_frames(clip):
    everything = read_video(clip).frames
    data = clip.read_bytes()
    entry = data.index(b"elst") + 12
    length, start = struct.unpack(">Ii", data[entry : entry + 8])
    # The length is in milliseconds, the start in ticks, of which a second has 12288.
    assert length == 2000
    trimmed = struct.pack(">Ii", length // 2, start + 12288)
    clip.write_bytes(data[:entry] + trimmed + data[entry + 8 :])
    np.testing.assert_array_equal(read_video(clip).frames, everything[12:])


def test_a_title_that_is_not_utf8_does_no_harm(tmp_path):
    path, frames = tmp_path / "a.avi", _gradient(6, 16, 16)
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "Cafe noir"
        stream = file.add_stream("mpeg4", rate=12)
        stream.height, stream.width = 16, 16
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Cafe noir", b"Caf\xe9 noir"))
    assert len(read_video(path).frames) == 6


def test_sound_alone_is_not_a_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"sound\.mp4: has no video stream$"):
        read_video(path)


def test_missing_files_are_refused(tmp_path):
    read_one = functools.partial(read_moments, fps=12, longest=1)
    for read in (read_video, read_one, probe_video):
        with pytest.raises(InputError, match=r"no\.mp4: no such file$"):
            read(tmp_path / "no.mp4")
        with pytest.raises(InputError, match=r": not a file$"):
            read(tmp_path)


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    with pytest.raises(ValueError, match="after one of"):
        write_video(
            tmp_path / "a.mp4", [np.zeros((8, 8, 3), np.uint8)] * 2 + [_gradient(1, 4, 4)[0]], 8
        )
    with pytest.raises(InputError, match=r"a\.avi: expected a name that ends in \.mp4"):
        write_video(tmp_path / "a.avi", _gradient(1, 8, 8), 8)
    assert list(tmp_path.iterdir()) == []


def test_images_are_upright_rgb_over_white(tmp_path):
    picture = Image.new("RGBA", (3, 2), (255, 0, 0, 255))
    picture.putpixel((2, 1), (0, 0, 0, 0))
    picture.save(tmp_path / "a.png")
    image = read_moments(tmp_path / "a.png", 12, longest=1)[0]
    assert image.shape == (2, 3, 3)
    assert image[0, 0].tolist() == [255, 0, 0]
    assert image[1, 2].tolist() == [255, 255, 255]
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.new("RGB", (3, 2)).save(tmp_path / "b.jpg", exif=sideways)
    assert read_moments(tmp_path / "b.jpg", 12, longest=1)[0].shape == (3, 2, 3)


def test_damaged_images_are_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(_gradient(1, 64, 64)[0]).save(path)
    path.write_bytes(_cut(path.read_bytes(), 0.5))
    with pytest.raises(InputError, match=r"a\.png: not a readable image \("):
        read_moments(path, 12, longest=1)
    path = tmp_path / "a.gif"
    first, *rest = map(Image.fromarray, _gradient(4, 64, 64))
    first.save(path, save_all=True, append_images=rest)
    path.write_bytes(_cut(path.read_bytes(), 0.99))
    with pytest.raises(InputError, match=r"a\.gif: not a readable image \("):
        read_moments(path, 12, longest=9)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(InputError, match=r"a\.heic: .*found HEIC, expected it saved as JPEG"):
        read_moments(path, 12, longest=1)


def test_resizing_down_does_not_alias():
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    small = resize(stripes, height=16, width=16)
    assert small.shape == (2, 16, 16, 3)
    assert np.abs(small[:, 2:-2, 2:-2].astype(int) - 127).max() <= 3
    assert resize(stripes, height=64, width=64) is stripes
