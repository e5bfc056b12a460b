"""Writes ICC profiles for tests, from the published figures of their colour spaces [ICC.1:2001-04]."""

from __future__ import annotations

import struct

# Columns are the colorants of the D50 connection space, as these profiles are published.
DISPLAY_P3 = (
    (0.51512, 0.24120, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.15710, 0.06657, 0.78407),
)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_WHITE = (0.9642, 1.0, 0.8249)


def make_rgb_profile(colorants: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    """Returns the profile of a display with three colorants and one gamma."""
    tags = {b"wtpt": _xyz(_WHITE)}
    tags |= {name + b"XYZ": _xyz(c) for name, c in zip((b"r", b"g", b"b"), colorants, strict=True)}
    tags |= {name + b"TRC": _curve(gamma) for name in (b"r", b"g", b"b")}
    return _make_profile(b"mntr", b"RGB ", b"XYZ ", tags)


def make_grey_profile(gamma: float) -> bytes:
    """Returns the profile of a grey display."""
    return _make_profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(_WHITE), b"kTRC": _curve(gamma)})


def make_cmyk_profile(yellow: tuple[int, int, int]) -> bytes:
    """Returns the profile of a press whose every ink prints black, but yellow ink the given 8-bit Lab colour."""
    paper, black = bytes((255, 128, 128)), bytes((0, 128, 128))
    corners = [paper] + [black] * 15
    corners[0b0010] = bytes(yellow)  # the last ink, black, changes fastest
    identity = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + struct.pack(">4B", 4, 3, 2, 0) + identity
    table += ramp * 4 + b"".join(corners) + ramp * 3
    return _make_profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(_WHITE), b"A2B0": table})


def _xyz(color: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * part) for part in color))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)


def _make_profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">2I", start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(data), b"none", 0x02400000, kind, space, connection
    )
    head += struct.pack(">6H", 2001, 4, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(65536 * part) for part in _WHITE))
    return head.ljust(128, b"\0") + table + data
