"""Finds files that end before or after the end that they declare, both of which FFmpeg may pass over without an error.

A download that breaks off, or a copy to a full disk, leaves the beginning of a file. Containers state how large their
parts are: a Matroska segment, the boxes of MP4, MOV and 3GP, the tags of FLV, the data of ASF and WMV; an MXF file says
where its footer is. A file that ends before that is cut off. What was cut exactly between two parts, or has a part of
unknown size (a live recording), cannot be told from a whole file.

Recordings that were joined as bytes are files of several beginnings. Transport streams, program streams, Matroska and
AVI are read to their end, but of the formats named in `holds_another` the first recording alone, as a player shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FLV = b"FLV\x01"
_ASF, _ASF_DATA = (
    bytes.fromhex(f"{start}b2758e66cf11a6d900aa0062ce6c") for start in ("3026", "3626")
)
# A partition pack, of whatever kind [SMPTE ST 377-1].
_MXF = bytes.fromhex("060e2b34020501010d01020101")
_MXF_HEADER = _MXF + b"\x02"
# Boxes of ISO/IEC 14496-12 that a video begins with, and those without which frames are missing.
_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
_NEEDED = (b"moov", b"mdat", b"moof")


def is_cut_off(path: Path) -> bool:
    """Returns whether a file ends before the end that it declares; False where it declares none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        if start.startswith(_EBML):
            return _end_of_segment(file) > size
        if start.startswith(_FLV):
            return not _ends_with_tag(file, size)
        if start == _ASF:
            return _end_of_asf(file, size) > size
        if start.startswith(_MXF):
            return _place_of_footer(file) > size
        return start[4:8] in _FIRST and _end_of_boxes(file, size) > size


def holds_another(path: Path) -> bool:
    """Returns whether another recording lies behind the one that is read, in FLV, ASF, MXF or a format of boxes.

    Boxes with fragments, whose beginning may be repeated at will, are not looked at.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        if start.startswith(_FLV):
            return _FLV in _iter_tags(file, size)
        if start == _ASF:
            return [kind for kind, _ in _iter_objects(file, size)].count(_ASF) > 1
        if start.startswith(_MXF):
            return any(key.startswith(_MXF_HEADER) for key in _iter_behind_footer(file, size))
        if start[4:8] in _FIRST:
            kinds = [kind for kind, _ in _iter_boxes(file, size)]
            # Some writers leave the places of the frames twice, but not the frames.
            return min(map(kinds.count, (b"moov", b"mdat"))) > 1 and b"moof" not in kinds
    return False


def _end_of_segment(file: BinaryIO) -> int:
    """Returns where the first Matroska segment ends; 0 where its size is unknown."""
    file.seek(len(_EBML))
    length = _read_size(file)
    file.seek(length or 0, 1)
    if length is None or file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _read_size(file)
    return 0 if length is None else file.tell() + length


def _read_size(file: BinaryIO) -> int | None:
    """Returns a size of EBML [RFC 8794, section 6], whose first byte says how many bytes it has; None if unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(count - 1))
    unknown = (1 << 7 * count) - 1
    size = value & unknown
    return None if size == unknown else size


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Returns where the last of the boxes that hold frames or their places ends."""
    return max((end for kind, end in _iter_boxes(file, size) if kind in _NEEDED), default=0)


def _iter_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Yields the kind of each outermost box, and where it ends."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4]), head[4:8]
        # A length of 1 stands for one of 64 bits behind the name, and 0 for the rest of the file.
        length = int.from_bytes(head[8:16]) if length == 1 else length or size - place
        if length < 8:
            return
        place += length
        yield kind, place


def _ends_with_tag(file: BinaryIO, size: int) -> bool:
    """Returns whether the last four bytes of an FLV file are the size of the tag before them, as it says itself."""
    file.seek(max(size - 4, 0))
    length = int.from_bytes(file.read(4))
    if length > size - 4:
        return False
    file.seek(size - 4 - length)
    # Behind the type of a tag is the size of its data, without the 11 bytes before it.
    return int.from_bytes(file.read(4)[1:]) + 11 == length


def _iter_tags(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yields the first four bytes of each tag of an FLV file, its kind and its size, or of a file that begins there."""
    place = 13  # behind the header and the size of the tag before the first, which is 0
    while place + 15 <= size:
        file.seek(place)
        head = file.read(4)
        yield head
        place += 15 + int.from_bytes(head[1:])


def _end_of_asf(file: BinaryIO, size: int) -> int:
    """Returns where the data of an ASF file ends, which its index follows; 0 where that is unknown."""
    objects = list(islice(_iter_objects(file, size), 2))
    return objects[1][1] if len(objects) == 2 and objects[1][0] == _ASF_DATA else 0


def _iter_objects(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Yields the kind of each outermost object of an ASF file, such as its header, and where it ends."""
    place = 0
    while place + 24 <= size:
        file.seek(place)
        kind, length = file.read(16), int.from_bytes(file.read(8), "little")
        if length < 24:
            return
        place += length
        yield kind, place


def _place_of_footer(file: BinaryIO) -> int:
    """Returns where the footer of an MXF file begins, as its header says; 0 where the recorder did not fill it in."""
    file.seek(16)
    length = int.from_bytes(file.read(1))
    # A length of more than 127 has its own size in the first byte. The footer is told behind 24 bytes.
    file.seek((length & 127 if length & 128 else 0) + 24, 1)
    return int.from_bytes(file.read(8))


def _iter_behind_footer(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yields the keys of 16 bytes from the footer of an MXF file on; none where the place of the footer is unknown."""
    place = _place_of_footer(file) or size
    while place + 17 <= size:
        file.seek(place)
        key, length = file.read(16), int.from_bytes(file.read(1))
        more = length & 127 if length & 128 else 0
        place += 17 + more + (int.from_bytes(file.read(more)) if more else length)
        yield key
