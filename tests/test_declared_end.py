"""Tests that files which end before or after the end that they declare are found, in every container with one."""

from __future__ import annotations

import numpy as np
import pytest
from footage_files import draw_shots, write_footage, write_steady

from lct_jax.errors import InputError
from lct_jax.media.declared_end import _ASF, _MXF, holds_another, is_cut_off
from lct_jax.media.frames import iter_at_rate

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Films of 60 frames by their suffixes."""
    folder, frames = tmp_path_factory.mktemp("films"), draw_shots((60,))
    films = {
        x: write_footage(folder / f"a{x}", frames)
        for x in (".mkv", ".mp4", ".mov", ".3gp", ".f4v", ".flv")
    }
    films["fragments"] = write_steady(
        folder / "fragments.mp4", frames, options={"g": "12"}, container_options=FRAGMENTS
    )
    films[".wmv"] = write_steady(folder / "a.wmv", frames, codec="wmv2")
    films[".mxf"] = write_steady(folder / "a.mxf", frames, fps=25, codec="mpeg2video")
    return films


@pytest.mark.parametrize(
    "kind", [".mkv", ".mp4", ".mov", ".3gp", ".f4v", ".flv", ".wmv", ".mxf", "fragments"]
)
def test_a_film_is_whole_until_its_end_is_missing(films, tmp_path, kind):
    data = films[kind].read_bytes()
    assert not is_cut_off(films[kind])
    path = tmp_path / films[kind].name
    for share in np.linspace(0.15, 0.95, 9):
        path.write_bytes(data[: int(share * len(data))])
        # In fragments, a cut between two of them leaves a whole file.
        assert is_cut_off(path), share
        with pytest.raises(InputError, match=f"{path}: is cut off, it ends before the end that"):
            next(iter_at_rate(path, 12.0))


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".3gp", ".f4v", ".flv", ".wmv", ".mxf"])
def test_a_second_recording_that_no_reader_finds_is_refused(films, tmp_path, kind):
    path = tmp_path / films[kind].name
    path.write_bytes(2 * films[kind].read_bytes())
    assert not is_cut_off(path)
    with pytest.raises(InputError, match=f"{path}: another recording begins behind the end of"):
        next(iter_at_rate(path, 12.0))


def test_whole_recordings_hold_no_other(films, tmp_path):
    assert not [kind for kind, path in films.items() if holds_another(path)]
    data = films[".mp4"].read_bytes()
    (tmp_path / "places_twice.mp4").write_bytes(data + data[data.index(b"moov") - 4 :])
    assert not holds_another(tmp_path / "places_twice.mp4")


def test_a_second_segment_of_matroska_is_read(films, tmp_path):
    path = tmp_path / "a.mkv"
    path.write_bytes(2 * films[".mkv"].read_bytes())
    assert sum(1 for _ in iter_at_rate(path, 12.0)) == 2 * 60


def test_a_recording_of_unknown_length_and_bytes_behind_the_last_box_are_whole(films, tmp_path):
    path, data = tmp_path / "a.mkv", bytearray(films[".mkv"].read_bytes())
    size = data.index(b"\x18\x53\x80\x67") + 4
    data[size : size + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(data[: len(data) // 2])
    assert not is_cut_off(path)
    path.write_bytes(films[".mp4"].read_bytes() + b"TAG" + bytes(125))
    assert not is_cut_off(path)


@pytest.mark.parametrize(
    "data", [b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\0\0\0\x08ftyp", b"x", _ASF, _MXF + b"\2\4\0"]
)
def test_files_of_some_bytes_are_looked_at_without_an_error(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert is_cut_off(tmp_path / "a") == data.startswith(b"FLV")
