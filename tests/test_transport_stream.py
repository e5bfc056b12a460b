"""Transport streams that lost packets: every frame that is yielded is one of the whole film, bit for bit."""

from __future__ import annotations

import io
import itertools

import av
import numpy as np
import pytest
from footage_files import draw_shots

from lct_jax.media.decoding import decode_stream, open_video
from lct_jax.media.transport_stream import Losses

FILM = 0x100
KEYS = 12  # frames from one key frame to the next


def write_stream(path, *, height=96, width=128, lengths=(20, 16), seed=1, **options) -> list[bytes]:
    """Writes a film as a transport stream and returns its packets."""
    with av.open(str(path), "w", format="mpegts", options=options) as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {
            "crf": "12",
            "preset": "veryfast",
            "g": str(KEYS),
            "threads": "1",
            "bf": "2",
            "sc_threshold": "0",
        }
        for frame in draw_shots(lengths, height=height, width=width, seed=seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    data, size = path.read_bytes(), 192 if options else 188
    return [data[place : place + size] for place in range(0, len(data), size)]


def read(path) -> list[tuple[bytes, int, bool]]:
    """Every frame's bytes, timestamp and whether it says that frames before it are missing."""
    with open_video(path) as stream:
        return [
            (f.to_ndarray().tobytes(), f.pts, broken) for f, broken in decode_stream(path, stream)
        ]


def of_film(packet: bytes) -> bool:
    return (packet[1] & 31) << 8 | packet[2] == FILM


def check(path, packets, whole) -> list[int]:
    """Returns the numbers of the frames seen; each is one of the whole film, and each gap is told."""
    path.write_bytes(b"".join(packets))
    numbers = {(picture, time): number for number, (picture, time, _) in enumerate(whole)}
    seen = [(numbers[picture, time], broken) for picture, time, broken in read(path)]
    for (before, _), (number, broken) in itertools.pairwise(seen):
        assert broken == (number != before + 1)
    return [number for number, _ in seen]


@pytest.fixture
def film(tmp_path):
    packets = write_stream(tmp_path / "a.ts")
    return tmp_path / "a.ts", packets, read(tmp_path / "a.ts")


def test_lost_packets_cost_the_frames_up_to_the_next_key_frame(film):
    path, packets, whole = film
    assert check(path, packets, whole) == list(range(36))
    rows = [n for n, packet in enumerate(packets) if of_film(packet)]
    starts = [n for n in rows if packets[n][1] & 0x40]
    assert len(starts) == 36
    for lost in (rows[1], starts[6] + 1, starts[12] + 1, rows[len(rows) // 2]):
        # Frames are coded in another order within a group.
        hurt = sum(start <= lost for start in starts) - 1
        after = (hurt // KEYS + 1) * KEYS
        seen = check(path, packets[:lost] + packets[lost + 1 :], whole)
        assert [n for n in seen if n >= after] == list(range(after, 36))
        first = hurt // KEYS * KEYS
        assert [n for n in seen if n < first] == list(range(first))
        assert hurt % KEYS != 0 or seen == [n for n in range(36) if not first <= n < after]
    lost = starts[15] + 1
    seen = check(path, packets[:lost] + packets[lost + 5 :], whole)
    assert set(range(KEYS)) | set(range(2 * KEYS, 36)) <= set(seen) < set(range(36))


def test_packets_of_tables_may_be_lost(film):
    path, packets, whole = film
    tables = [n for n, packet in enumerate(packets) if not of_film(packet)]
    for lost in tables[3:]:
        assert check(path, packets[:lost] + packets[lost + 1 :], whole) == list(range(36))


@pytest.mark.parametrize("kind", ["cut", "twice", "error", "strange"])
def test_other_damage_costs_one_group_of_frames(film, kind):
    path, packets, whole = film
    place = [n for n, packet in enumerate(packets) if of_film(packet)][-30]
    packet = packets[place]
    packets[place] = {
        "cut": packet[:100],
        "twice": packet + packet,
        "error": packet[:1] + bytes([packet[1] | 0x80]) + packet[2:60] + bytes(128),
        "strange": packet + bytes(range(1, 70)) * 3,
    }[kind]
    seen = check(path, packets, whole)
    assert set(range(KEYS)) <= set(seen) < set(range(36))


def test_the_last_frame_is_left_out_where_its_end_is_missing(film):
    path, packets, whole = film
    while not of_film(packets[-1]) or packets[-1][3] & 0x20:
        packets.pop()
    assert len(check(path, packets, whole)) < 36


def test_time_codes_and_parity_beside_the_packets(tmp_path):
    path = tmp_path / "a.ts"
    coded = write_stream(path, mpegts_m2ts_mode="1")
    for packets in (coded, [packet[4:] + bytes(16) for packet in coded]):
        path.write_bytes(b"".join(packets))
        whole = read(path)
        assert len(check(path, packets, whole)) == 36
        lost = len(packets) // 2
        assert 20 <= len(check(path, packets[:lost] + packets[lost + 1 :], whole)) < 36


@pytest.mark.slow
def test_three_packets_lost_at_random(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "a.ts"
    for seed in range(4):
        packets = write_stream(path, height=240, width=320, lengths=(30, 30, 30), seed=seed)
        whole = read(path)
        for _ in range(2):
            lost = set(rng.choice(np.arange(10, len(packets)), 3, replace=False).tolist())
            left = [packet for n, packet in enumerate(packets) if n not in lost]
            assert 90 - 3 * 2 * KEYS < len(check(path, left, whole)) < 90


def make_packet(counter: int, *, start=False, payload=True, spliced=False) -> bytes:
    fields = bytes([1, 0x80 * spliced]) if spliced or not payload else b""
    control = 0x20 * bool(fields) | 0x10 * payload | counter & 15
    header = bytes([0x47, 0x40 * start | FILM >> 8, FILM & 255, control])
    body = b"\0\0\1\xe0\0\0\x80\0\0\0\0\1\x09" if start else b""
    return (header + fields + body).ljust(188, b"\xff")


def find(packets: list[bytes], block: int) -> list[int]:
    """Numbers of the packets that are said to lie in damaged frames."""
    losses = Losses(io.BytesIO(b"".join(packets)), FILM, block=block)
    return [n for n in range(len(packets)) if losses.between(188 * n, 188 * n + 188)]


@pytest.mark.parametrize("block", [1, 189, 1000, 1 << 20])
def test_counters_are_read_as_the_standard_says(block):
    film = [make_packet(n, start=n % 5 == 0) for n in range(20)]
    film.append(make_packet(19, payload=False))  # such a packet does not count
    film += [make_packet(n, start=n == 20) for n in range(20, 24)] + [
        make_packet(24, payload=False)
    ]
    assert find(film[:24], block) == [23]  # the last frame goes on
    assert find(film[:7] + film[8:21], block) == [6]
    assert find(film[:5] + film[6:21], block) == [4]
    assert find([*film[:5], make_packet(9, spliced=True, start=True), *film[10:21]], block) == []
