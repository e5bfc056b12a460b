"""Decodes the one stream of a file that is the film, and reports where frames were lost.

A file may hold cover art, thumbnails or data beside the film. Transport streams and other formats that were made for
transmission may lose packets: there the frames from a lost packet to the next key frame are left out, and the frame
after them is marked. In any other format a damaged packet means that the file is damaged, and it is refused.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import av
from av.format import Flags
from av.stream import Disposition

from lct_jax.errors import InputError, one_line
from lct_jax.media.colour import check_colours
from lct_jax.media.declared_end import holds_another, is_cut_off
from lct_jax.media.deinterlace import deinterlace
from lct_jax.media.transport_stream import Losses

# The average rate may differ from the nominal one by this share, because timestamps are rounded.
_SAME_RATE = Fraction(1, 1000)
# The nominal rate is the higher one of the two, but for some frames at the ends of a recording.
_ABOVE = Fraction(3, 2)
# Frames of no codec are shown later than so many others that are decoded after them [H.264: 16].
_REORDERED = 16
# In MXF frames may have the times at which they are decoded in place of those at which they are shown.
_UNORDERED = "mxf"
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


class Decoded(NamedTuple):
    """A decoded frame, progressive; `broken` means that frames were lost between the one before and this one."""

    frame: av.VideoFrame
    broken: bool


class StreamRate(NamedTuple):
    """What a stream says of its rate: frames a second (None where it says nothing), and whether they come evenly."""

    fps: Fraction | None
    steady: bool


@contextmanager
def open_video(path: str | Path) -> Iterator[av.VideoStream]:
    """Opens the video stream of a file that is the film.

    Raises:
        InputError: the file is missing, empty, not a video, or damaged; the last may be found only while it is read.
    """
    check_file(path)
    try:
        # The titles of old films are in encodings that nothing names.
        with av.open(literal_name(path), metadata_errors="replace") as container:
            yield _choose_stream(container, path)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a readable video ({one_line(error)})") from None


def decode_stream(path: str | Path, stream: av.VideoStream) -> Iterator[Decoded]:
    """Yields the frames of an open stream in order of display, interlaced ones with their missing lines filled in.

    Raises:
        InputError: the file is damaged or ends before its container says, holds no frame, or has colours that cannot
            be shown.
    """
    count = 0
    decode = _decode_lossy if is_transmitted(stream) else _decode_strict
    decoded = decode(path, stream)
    if stream.container.format.name == _UNORDERED:
        decoded = _order_times(decoded)
    for frame, broken in deinterlace(decoded, stream):
        check_colours(frame, path)
        count += 1
        yield Decoded(frame, broken)
    if not count:
        raise InputError(f"{path}: holds no frame that can be decoded")


def read_stream_rate(stream: av.VideoStream) -> StreamRate:
    """Returns the frames a second of a stream.

    FFmpeg also gives the lowest rate at which every timestamp that it has seen has a frame. Where that one agrees with
    the average, it is the rate that was meant: in FLV the average of 24000/1001 is 983/41, three frames less in two
    hours. Where it does not, frames were dropped, or come as a screen changes.
    """
    average, nominal = stream.average_rate or stream.guessed_rate, stream.base_rate
    if average and nominal and abs(nominal - average) < _SAME_RATE * average:
        return StreamRate(nominal, steady=True)
    if average and nominal and average > _ABOVE * nominal:
        # In DV the average is that of the clock's ticks.
        return StreamRate(nominal, steady=False)
    return StreamRate(average or None, steady=False)


def is_transmitted(stream: av.VideoStream) -> bool:
    """Returns whether a stream's format lets timestamps restart and packets be lost (MPEG-TS, MPEG-PS and others)."""
    return bool(stream.container.format.flags & Flags.ts_discont.value)


def literal_name(path: str | Path) -> str:
    """Names a file so that FFmpeg takes no part of the name for a protocol, as it would in `12:30/film.mp4`."""
    return f"file:{path}"


def check_file(path: str | Path) -> None:
    """Raises InputError unless a path is that of a file that is not empty, and not known to end before or after the
    recording in it."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes)")
    try:
        cut_off, joined = is_cut_off(path), holds_another(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    if cut_off:
        raise InputError(f"{path}: is cut off, it ends before the end that it declares")
    if joined:
        raise InputError(
            f"{path}: another recording begins behind the end of the first, and would be lost, expected one:"
            " divide the file, or join them by a program that knows the format"
        )


def _choose_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    """Returns the video stream that FFmpeg considers the best, of those that are not pictures attached to a film."""
    films = [s for s in container.streams.video if not s.disposition & _NO_FILM]
    if not films:
        beside = " but a picture, such as cover art" if container.streams.video else ""
        raise InputError(f"{path}: has no video stream{beside}")
    best = container.streams.best("video")
    return best if best in films else films[0]


def _decode_strict(path: str | Path, stream: av.VideoStream) -> Iterator[Decoded]:
    count, packets, begun = 0, 0, False
    # Packets are counted, not frames: a trimmed phone video hides frames by its edit list, and is whole.
    listed = len(stream.index_entries)
    for packet in stream.container.demux(stream):
        if packet.is_corrupt:
            raise InputError(f"{path}: damaged or cut off after frame {count}")
        packets += packet.size > 0
        for frame in packet.decode():
            begun |= frame.key_frame
            if frame.is_corrupt and not begun:
                # This recording begins between two key frames.
                continue
            if frame.is_corrupt:
                raise InputError(f"{path}: frame {count} is damaged")
            count += 1
            yield Decoded(frame, broken=False)
    if packets < listed:
        raise InputError(f"{path}: ends after {packets} of the {listed} frames it declares")


def _order_times(decoded: Iterator[Decoded]) -> Iterator[Decoded]:
    """Yields frames, which come in the order of display, with their timestamps in order, too."""
    held, times = deque(), []
    for one in chain(decoded, repeat(None, _REORDERED)):
        if one is not None:
            held.append(one)
            heappush(times, one.frame.pts or 0)
        if held and (one is None or len(held) > _REORDERED):
            first = held.popleft()
            first.frame.pts = heappop(times)
            yield first


def _decode_lossy(path: str | Path, stream: av.VideoStream) -> Iterator[Decoded]:
    """Yields the frames that are whole; after a loss the decoder restarts at the next key frame."""
    codec, waiting, broken, begin = stream.codec_context, False, False, None
    for packet, lost in _iter_packets(path, stream):
        frames = []
        if not waiting and lost:
            frames = _drain(codec, stream, before=packet.dts if packet.pts is None else packet.pts)
        elif not waiting or (packet.is_keyframe and not lost):
            begin, waiting = packet.pts if waiting else begin, False
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                lost = True
        for frame in frames:
            if broken and None not in (begin, frame.pts) and frame.pts < begin:
                continue  # it is shown before the key frame, and may refer to what was lost
            if frame.is_corrupt:
                # Frames that refer to a lost one are lost too, and are not marked as such.
                lost = True
                break
            yield Decoded(frame, broken)
            broken = False
        if lost:
            codec.flush_buffers()
            waiting = broken = True


def _iter_packets(path: str | Path, stream: av.VideoStream) -> Iterator[tuple[av.Packet, bool]]:
    """Yields packets with whether data of theirs was lost."""
    packets = stream.container.demux(stream)
    if stream.container.format.name != "mpegts":
        yield from ((packet, packet.is_corrupt) for packet in packets)
        return
    with open(path, "rb") as file:
        losses, held, start, late = Losses(file, stream.id), [], -1, False
        for packet in packets:
            # Frames without a place of their own lie beside the one before.
            if packet.pos is not None and packet.pos > start:
                lost = bool(held) and losses.between(start, packet.pos)
                yield from ((other, lost or flagged) for other, flagged in held)
                held, start = [], packet.pos
            # The parser puts the flag of a damaged packet on the one before.
            held.append((packet, late))
            late = packet.is_corrupt
        lost = losses.between(start, math.inf)
        yield from ((other, lost or flagged) for other, flagged in held)


def _drain(
    codec: av.VideoCodecContext, stream: av.VideoStream, *, before: int | None
) -> list[av.VideoFrame]:
    """Returns the frames that a decoder still holds and that are shown before a timestamp."""
    try:
        frames = codec.decode(None)
    except av.FFmpegError:  # the end of the stream was reached before
        return []
    for frame in frames:
        # The library takes the time base from the packet, and there is none.
        frame.time_base = stream.time_base
    return [frame for frame in frames if None not in (before, frame.pts) and frame.pts < before]
