"""Places in an MPEG transport stream at which data of the film is lost, by its continuity counters.

Every packet of a stream carries a counter of four bits, which tells of packets that did not arrive. FFmpeg looks at it,
but its parsers put what it found on the frame before the damaged one, and on none where that is the first. Packets of
188 bytes are read, also with a time code before them (192, M2TS) or parity behind them (204) [ISO/IEC 13818-1, 2.4.3].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

_SYNC, _PACKET, _SIZES = 0x47, 188, (188, 192, 204)
# As many sync bytes at equal distances are taken for packets.
_PROOF = 5
# What an access unit may begin with behind 00 00 01: MPEG-2 picture, sequence and group, H.264 and HEVC delimiters.
_BEGINNINGS = (0x00, 0xB3, 0xB8, 0x09, 0x46)


class Losses:
    """Tells which bytes of a transport stream are damaged; reads no further ahead than it is asked, plus `block`."""

    def __init__(self, file: BinaryIO, pid: int, *, block: int = 1 << 22):
        """Watches the packets of one stream.

        Args:
            file: the transport stream, read from its beginning.
            pid: packet identifier of the stream.
            block: bytes that are read at once; more than one frame has.
        """
        self._scan, self._block = _scan(_iter_runs(file, block), pid), block
        self._read, self._found = 0.0, []

    def between(self, start: int, end: float) -> bool:
        """Returns whether data is lost from byte `start` to byte `end`; `start` never decreases between calls."""
        # A loss is told by the packet behind it, and may damage what began before it.
        while self._read < end + self._block:
            self._read, found = next(self._scan, (math.inf, []))
            self._found += found
        self._found = [place for place in self._found if place >= start]
        return any(place < end for place in self._found)


class _Run(NamedTuple):
    """Packets uint8 [N, 188] `size` bytes apart, the first at byte `offset`; the last run of a file is empty."""

    offset: int
    size: int
    packets: np.ndarray


def _iter_runs(file: BinaryIO, block: int) -> Iterator[_Run]:
    """Yields runs of packets; bytes between two runs are no packets."""
    rest, base, size = b"", 0, 0
    while read := file.read(block):
        data, at = np.frombuffer(rest + read, np.uint8), 0
        while True:
            if not size:
                skipped, size = _find_sync(data[at:])
                at += skipped
            count = (len(data) - at) // size if size else 0
            rows = data[at : at + count * size].reshape(count, size or 1)
            strange = np.flatnonzero(rows[:, :1] != _SYNC)
            whole = int(strange[0]) if strange.size else count
            if whole:
                yield _Run(base + at, size, rows[:whole, :_PACKET])
            at += whole * size
            if not strange.size:
                break
            size = 0
        rest, base = data[at:].tobytes(), base + at
    if size and len(rest) >= _PACKET and rest[0] == _SYNC:  # the time code belongs to the next one
        yield _Run(base, size, np.frombuffer(rest[:_PACKET], np.uint8)[None])
        rest, base = b"", base + len(rest)
    yield _Run(base + len(rest), _PACKET, np.zeros((0, _PACKET), np.uint8))


def _find_sync(data: np.ndarray) -> tuple[int, int]:
    """Returns where packets begin and their size; where there are none, what can be passed over, and 0."""
    here, found = data == _SYNC, []
    for size in _SIZES:
        length = max(len(data) - (_PROOF - 1) * size, 0)
        runs = np.all([here[n * size : n * size + length] for n in range(_PROOF)], axis=0)
        found += [(int(place), size) for place in np.flatnonzero(runs)[:1]]
    return min(found, default=(max(len(data) - _PROOF * max(_SIZES), 0), 0))


def _scan(runs: Iterator[_Run], pid: int) -> Iterator[tuple[int, list[int]]]:
    """Yields the byte up to which a stream was read, and bytes found that lie in damaged frames."""
    film, places, end = np.zeros((0, _PACKET), np.uint8), np.zeros(0, np.int64), None
    for offset, size, packets in runs:
        found = []
        if end is not None and offset > end:
            # FFmpeg may take a few packets longer to find the next one.
            found = [end, *(offset + n * size for n in range(_PROOF))]
        rows = np.flatnonzero(
            ((packets[:, 1] & 31) == pid >> 8)
            & (packets[:, 2] == pid & 255)
            & ((packets[:, 3] & 0x30) > 0)
        )
        film = np.concatenate([film, packets[rows]])
        places = np.concatenate([places, offset + rows * size])
        found += _find_damage(film, places)
        if not len(packets) and len(film) and not film[-1, 3] & 0x20:
            # The last packet of a frame is filled up by its adaptation field: this frame goes on, and the file ends.
            found.append(int(places[-1]))
        end = offset + len(packets) * size
        yield end, found
        starts = np.flatnonzero(film[:, 1] & 0x40)
        begin = starts[-1] if len(starts) else max(len(film) - 1, 0)
        film, places = film[begin:], places[begin:]


def _find_damage(film: np.ndarray, places: np.ndarray) -> list[int]:
    """Returns bytes that lie in damaged frames, from successive packets of one stream and where they lie.

    A packet that is sent twice is legal, and counts as damage: FFmpeg takes its payload twice.
    """
    control, counter = film[:, 3], film[:, 3] & 15
    spliced = ((control & 0x20) > 0) & (film[:, 4] > 0) & ((film[:, 5] & 0x80) > 0)
    expected = (counter[:-1] + ((control[1:] & 0x10) > 0)) & 15
    wrong = (film[:, 1] & 0x80) > 0
    lost = wrong.copy()
    # Frames end where another begins: what was lost belongs to the frame of the packet before.
    lost[:-1] |= wrong[1:] | ((counter[1:] != expected) & ~spliced[1:])
    found = places[lost].tolist()
    starts = np.flatnonzero(film[:, 1] & 0x40)
    behind = np.searchsorted(starts, np.flatnonzero(lost), side="right")
    for start in starts[np.unique(behind[behind > 0]) - 1]:
        if not _begins_with_frame(film[start].tobytes()):
            found.append(int(places[start]) - 1)
    return found


def _begins_with_frame(packet: bytes) -> bool:
    """Whether a packet that begins a part of its stream (a PES packet) begins with a frame, too."""
    payload = packet[4 + (1 + packet[4]) * bool(packet[3] & 0x20) :]
    data = payload[9 + payload[8] :] if len(payload) > 8 else b""
    begin = data.find(b"\0\0\1")
    return 0 <= begin < min(2, len(data) - 3) and data[begin + 3] in _BEGINNINGS
