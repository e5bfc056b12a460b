"""Tests colours of decoded frames against literal values of the standards, and interlaced frames."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from lct_jax.data.footage.combing import is_combed, refuse_combed
from lct_jax.errors import InputError
from lct_jax.media.colour import check_colours, to_rgb8
from lct_jax.media.frames import iter_at_rate
from lct_jax.media.video import iter_frames

# These are 8-bit codes of red in narrow range, by the matrices of BT.709 and BT.601.
RED_709, RED_601 = (63, 102, 240), (81, 90, 240)


def fill(codes, height: int, width: int, **tags) -> av.VideoFrame:
    """Returns a frame of one colour, in 8-bit YUV codes."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, code in zip(frame.planes, codes, strict=True):
        plane.update(bytes([code]) * plane.buffer_size)
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


@pytest.mark.parametrize(
    ("codes", "size", "tags"),
    [
        (RED_709, (720, 1280), {}),
        (RED_709, (1280, 720), {}),
        (RED_709, (1080, 1440), {}),
        (RED_601, (576, 720), {}),
        (RED_601, (480, 640), {}),
        (RED_709, (480, 640), {"colorspace": 1}),
        (RED_601, (720, 1280), {"colorspace": 5}),
        (RED_601, (720, 1280), {"colorspace": 6}),
    ],
)
def test_untagged_pictures_are_bt709_when_they_are_hd(codes, size, tags):
    red = to_rgb8(fill(codes, *size, **tags))
    assert red.shape == (*size, 3)
    np.testing.assert_allclose(red[0, 0], (254, 0, 0), atol=2)


def test_full_range_is_kept():
    assert to_rgb8(fill((200, 128, 128), 720, 1280, color_range=2))[0, 0].tolist() == [200] * 3
    assert to_rgb8(fill((235, 128, 128), 720, 1280))[0, 0].tolist() == [255] * 3


def grade(signal, transfer: int, chroma=(512, 512)) -> np.ndarray:
    """Returns the RGB of a 10-bit BT.2020 frame with columns of these signals, 0 to 1."""
    frame = av.VideoFrame(8 * len(signal), 16, "yuv420p10le")
    luma = np.repeat(np.round(64 + 876 * np.asarray(signal)), 8)[None].repeat(16, 0)
    for plane, codes in zip(frame.planes, (luma, chroma[0], chroma[1]), strict=True):
        rows = np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width]
        rows[:] = codes
    frame.colorspace, frame.color_range = Colorspace.BT2020, 1
    frame.color_trc, frame.color_primaries = transfer, ColorPrimaries.BT2020
    return to_rgb8(frame)[0, 4::8]


def test_hdr10_is_tone_mapped():
    """The PQ codes are those of 0, 10, 50, 100, 203, 400, 1000 and 4000 nits [BT.2408-7, table 1 and ST 2084]."""
    seen = grade([0, 0.3015, 0.4403, 0.5081, 0.5807, 0.6526, 0.7518, 0.9026], ColorTrc.SMPTE2084)
    assert (np.ptp(seen.astype(int), axis=1) <= 1).all()  # greys stay grey
    # Below the knee light is kept: (nits / 203) ** (1 / 2.4) of white.
    np.testing.assert_allclose(seen[:4, 0], (0, 73, 142, 190), atol=3)
    assert 225 <= seen[4, 0] <= 235  # brighter light needs room above reference white
    assert seen[4, 0] < seen[5, 0] < seen[6, 0] <= 255
    assert seen[6, 0] >= 253
    assert seen[7, 0] >= 253


def test_hlg_is_tone_mapped():
    seen = grade([0, 0.5, 0.75, 1.0], ColorTrc.ARIB_STD_B67)[:, 0]
    # 0.75 is reference white, 203 nits, as above; 0.5 is 1/12 of scene light: 1000 / 12 ** 1.2 = 50.7 nits.
    np.testing.assert_allclose(seen, (0, 143, 230, 255), atol=3)


def test_wide_gamut_of_standard_range_becomes_that_of_bt709():
    """Grey is kept; BT.709 red, which is (0.6274, 0.0691, 0.0164) of BT.2020 in linear light, is red."""
    assert np.ptp(grade([0.5], ColorTrc.BT2020_10).astype(int)) <= 1
    red = np.array([0.6274, 0.0691, 0.0164]) ** (1 / 2.4)
    luma = red @ [0.2627, 0.6780, 0.0593]
    blue, chroma = (red[2] - luma) / 1.8814, (red[0] - luma) / 1.4746
    chroma = (round(512 + 896 * blue), round(512 + 896 * chroma))
    np.testing.assert_allclose(grade([luma], ColorTrc.BT2020_10, chroma)[0], (255, 0, 0), atol=24)


@pytest.mark.parametrize("matrix", range(19))
def test_colours_are_shown_or_refused_by_name(matrix):
    frame = fill(RED_709, 16, 16, colorspace=matrix)
    try:
        check_colours(frame, "a.mp4")
    except InputError as error:
        found = {8: "YCgCo", 10: "BT.2020 of constant luminance", 14: "ICtCp", 15: "IPT"}
        named = found.get(matrix, f"matrix {matrix}")
        assert str(error) == f"a.mp4: found {named} colours, expected YCbCr or RGB"
        with pytest.raises(OSError, match="not supported"):
            to_rgb8(frame)
    else:
        assert to_rgb8(frame).shape == (16, 16, 3)


# ---- interlaced footage --------------------------------------------------------------------------


def write_fields(path, *, interlaced: bool, marked: bool = True) -> np.ndarray:
    """Writes a square that moves 4 pixels a field, with two fields in each of 20 frames at 25 a second."""
    fields = np.full((40, 96, 128, 3), 60, np.uint8)
    for number, field in enumerate(fields):
        field[20:70, 2 * number : 2 * number + 30] = 220
    frames = fields[::2].copy()
    if interlaced:
        frames[:, 1::2] = fields[1::2, 1::2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10", "x264-params": "tff=1" if interlaced and marked else ""}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return frames


def measure_comb(frame: np.ndarray) -> float:
    """Returns the share of pixels that differ from the lines above and below in the same direction."""
    rows = frame[..., 1].astype(int)
    product = (rows[:-2] - rows[1:-1]) * (rows[2:] - rows[1:-1])
    return float((product > 400).mean())


def test_interlaced_frames_are_deinterlaced(tmp_path):
    woven = write_fields(tmp_path / "a.mp4", interlaced=True)
    seen = list(iter_frames(tmp_path / "a.mp4"))
    assert len(seen) == 20
    assert measure_comb(woven[5]) > 0.005
    assert max(map(measure_comb, seen)) < 0.001
    assert len(list(iter_at_rate(tmp_path / "a.mp4", 12))) == 10  # 0.8 s, as before


def test_interlaced_frames_that_are_not_marked_are_named(tmp_path):
    path = tmp_path / "a.mp4"
    write_fields(path, interlaced=True, marked=False)
    with pytest.raises(InputError, match=r"a\.mp4: looks interlaced \(\d of \d frames"):
        list(refuse_combed(iter_at_rate(path, 25), path))
    for interlaced in (True, False):
        write_fields(path, interlaced=interlaced)
        assert len(list(refuse_combed(iter_at_rate(path, 25), path))) == 20


def test_textures_are_not_detected_as_interlaced():
    """The pictures are noise, thin horizontal lines in a part, a checkerboard, and a picture of one line."""
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3)).astype(np.uint8)
    assert not is_combed(noise)
    lines = np.full((90, 160, 3), 90, np.uint8)
    lines[10::30] = 200
    checks = np.where(np.indices((90, 160)).sum(0)[..., None] % 2, 40, 200).astype(np.uint8)
    assert not is_combed(np.repeat(checks, 3, axis=-1))
    assert not is_combed(lines[:1])
    # Some frames of lines, such as a page of a ledger, are not enough.
    combs = [lines] * 3 + [noise] * 57
    assert len(list(refuse_combed(combs, "a.mp4"))) == 60


def test_progressive_frames_pass_unchanged(tmp_path):
    write_fields(tmp_path / "a.mp4", interlaced=False)
    with av.open(str(tmp_path / "a.mp4")) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for seen, expected in zip(iter_frames(tmp_path / "a.mp4"), plain, strict=True):
        np.testing.assert_array_equal(seen, expected)
