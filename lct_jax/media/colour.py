"""Converts the colours of a decoded frame to those of a BT.709 display: matrix, range, gamut and high dynamic range.

- Untagged YUV is read as players do: BT.709 where the picture is wider than 1279 or higher than 576, BT.601 below.
- HDR10 (PQ) and HLG are tone-mapped by the curve of ITU-R BT.2390-11, section 5.4, from 1,000 nits, for which most of
  them are graded, to 203 nits, the white of standard range in BT.2408; brighter light is white.
- BT.2020 primaries are brought to those of BT.709 in linear light [BT.2087-0], and colours outside are clipped.
- Colours that FFmpeg cannot turn into RGB (YCgCo, Dolby Vision without another picture) are refused by name.
"""

from __future__ import annotations

import functools
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from lct_jax.errors import InputError

# 0 is the value of RGB; decoders give it also to YUV that is not tagged.
_UNTAGGED = (0, 2)
# Matrices that FFmpeg turns into RGB, and names of others [ITU-T H.273, table 4].
_READ = (*_UNTAGGED, 1, 4, 5, 6, 7, 9)
_NAMES = {8: "YCgCo", 10: "BT.2020 of constant luminance", 14: "ICtCp", 15: "IPT"}
_PEAK, _WHITE = 1000.0, 203.0  # nits
_GAMMA = 2.4  # of a display of standard range [BT.1886]
# This matrix turns linear BT.2020 into linear BT.709 [BT.2087-0].
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


def check_colours(frame: av.VideoFrame, path: str | Path) -> None:
    """Raises InputError where a frame has colours that `to_rgb8` would get wrong."""
    if frame.colorspace not in _READ:
        found = _NAMES.get(int(frame.colorspace), f"matrix {int(frame.colorspace)}")
        raise InputError(f"{path}: found {found} colours, expected YCbCr or RGB")
    if frame.color_trc == ColorTrc.UNSPECIFIED and "DOVI_METADATA" in frame.side_data:
        raise InputError(
            f"{path}: found Dolby Vision without a picture for other displays (profile 5), expected HDR10, HLG or SDR"
        )


def to_rgb8(frame: av.VideoFrame) -> np.ndarray:
    """Returns a frame as uint8 RGB [X, Y, 3] for a BT.709 display, as it is stored (not turned)."""
    matrix = _find_matrix(frame)
    if frame.color_trc == ColorTrc.SMPTE2084:
        light = _pq_light()
    elif frame.color_trc == ColorTrc.ARIB_STD_B67:
        light = _hlg_light()
    elif frame.color_primaries == ColorPrimaries.BT2020:
        light = _sdr_light()
    else:
        return frame.to_ndarray(format="rgb24", src_colorspace=matrix)
    # OpenCV is loaded where a film needs it alone, so that programs start without it.
    import cv2

    codes = frame.to_ndarray(format="rgb48le", src_colorspace=matrix)
    linear = cv2.transform(light[codes], _TO_709)
    return _display_codes()[(np.clip(linear, 0, 1) * 65535 + 0.5).astype(np.uint16)]


def _find_matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Returns the matrix of a frame that names none; None where it names one, or needs none."""
    yuv = not frame.format.is_rgb and len(frame.format.components) >= 3
    if not yuv or frame.colorspace not in _UNTAGGED:
        return None
    if frame.color_primaries == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


@functools.cache
def _pq_light() -> np.ndarray:
    """Returns the light of each 16-bit PQ code after tone mapping: float32 [65536], 1 is white."""
    return _tone_map(_pq_to_nits(_codes()))


@functools.cache
def _hlg_light() -> np.ndarray:
    """Returns the same for HLG at 1,000 nits, by the inverse OETF and the system gamma of 1.2 [BT.2100-2, table 5].

    The gamma is applied to each channel and not to the luminance: greys are the same, other colours a little less
    saturated.
    """
    codes = _codes()
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    return _tone_map(_PEAK * scene**1.2)


@functools.cache
def _sdr_light() -> np.ndarray:
    return (_codes() ** _GAMMA).astype(np.float32)


@functools.cache
def _display_codes() -> np.ndarray:
    """Returns the code of each of 65,536 steps of light on a display of standard range: uint8 [65536]."""
    return np.round(255 * _codes() ** (1 / _GAMMA)).astype(np.uint8)


def _codes() -> np.ndarray:
    return np.arange(65536) / 65535


def _tone_map(nits: np.ndarray) -> np.ndarray:
    """Returns light from 0 to 1 (203 nits): unchanged below a knee, then a spline to white [BT.2390-11, 5.4.1]."""
    source, target = _nits_to_pq(_PEAK), _nits_to_pq(_WHITE) / _nits_to_pq(_PEAK)
    level = np.minimum(_nits_to_pq(nits) / source, 1)
    knee = 1.5 * target - 0.5
    t = np.maximum(level - knee, 0) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * target
    )
    mapped = np.where(level < knee, level, spline)
    return (_pq_to_nits(mapped * source) / _WHITE).astype(np.float32)


# The constants are those of SMPTE ST 2084.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_to_nits(code: np.ndarray) -> np.ndarray:
    power = code ** (1 / _M2)
    return 10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _nits_to_pq(nits: np.ndarray | float) -> np.ndarray:
    power = (np.asarray(nits) / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
