"""Records of a prepared set: which frames and texts of a film they hold."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_film import (
    CUTS,
    make_tiny_film,
    shared_film,
)

from lct_jax.codecs.patch import PatchCodec
from lct_jax.data.encode import choose_clips, clip_starts, fitting_length
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sources import RawShot, align_shots
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.media.video import read_video

# ---- clips and stills ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "longest", "expected"),
    [
        (1, 125, 1),
        (4, 125, 1),
        (5, 125, 5),
        (20, 125, 17),
        (21, 125, 21),
        (200, 125, 125),
        (20, 9, 9),
    ],
)
def test_a_clip_is_the_longest_4n_plus_1(frames, longest, expected):
    assert fitting_length(frames, longest=longest) == expected


@pytest.mark.parametrize(
    ("frames", "length", "clips", "expected"),
    [
        (20, 9, 1, [0]),
        (20, 9, 2, [0, 11]),
        (20, 9, 3, [0, 5, 11]),
        (9, 9, 3, [0]),
        (11, 9, 6, [0, 1, 2]),
        (21, 1, 5, [0, 5, 10, 15, 20]),
    ],
)
def test_clips_are_evenly_spaced_from_the_cut_to_the_end(frames, length, clips, expected):
    assert clip_starts(frames, length=length, clips=clips) == expected


def test_records_hold_the_frames_of_the_film():
    film = shared_film()
    prepared, frames = film.prepare(), read_video(film.film).frames
    codec = PatchCodec.load(film.prepared / "codec.safetensors", channels=8)
    # There are six shots of 20, 13, 17, 9, 20 and 16 frames, with clips of at most 9: these are the starts of two clips
    # and stills. The fourth has 8 frames in the scene file; the fifth continues it without a cut and gives it one, for
    # a clip of 4n + 1.
    expected = (((0, 11), (0, 19)), ((0, 4), (0, 12)), ((0, 8), (0, 16)), ((0,), (0, 8)),
                ((0, 11), (0, 19)), ((0, 7), (0, 15)))  # fmt: skip
    for shot, (clips, stills) in enumerate(expected):
        start, length = CUTS[shot][0] + (shot == 4), 9
        for number, first in enumerate(clips):
            latent = codec.encode(frames[start + first : start + first + length])
            found = prepared.read_latent(shot, clip=number, still=None)
            np.testing.assert_array_equal(found, latent.astype(np.float16))
        for number, first in enumerate(stills):
            latent = codec.encode(frames[start + first : start + first + 1])
            found = prepared.read_latent(shot, clip=None, still=number)
            np.testing.assert_array_equal(found, latent.astype(np.float16))
    assert prepared.lengths.clip_start.tolist() == [0, 2, 4, 6, 7, 9, 11]


def test_records_hold_the_texts_of_the_scene_file():
    prepared, encoder = shared_film().prepare(), StandInEncoder(16)
    brief = "Character 1: A woman in a red coat. Environment: A quay at night."
    expected = {
        prepared.read_global(1, story=False).tobytes(): brief,
        prepared.read_global(1, story=True).tobytes(): f"{brief} Story: A farewell.",
        prepared.read_prompt(3).tobytes(): "[SHOT CUT] Character 1 waits.",
        prepared.read_prompt(4).tobytes(): "Rain on the quay.",  # continues without a cut
    }
    for found, text in expected.items():
        assert found == encoder.encode([text])[0].astype(np.float16).astype(np.float32).tobytes()


def test_the_card_describes_the_set():
    film = shared_film()
    card = film.prepare().card
    prepared = PreparedSet(film.prepared)
    assert prepared.scene_names == ["quay", "road", "end"]
    assert prepared.shot_names == ["quay/1", "quay/2", "quay/3", "road/1", "road/2", "end/1"]
    assert card.counts == {
        "train": {"films": 1, "scenes": 2, "shots": 5},
        "held_out": {"films": 1, "scenes": 1, "shots": 1},
    }
    # Shots of 20, 13, 17, 8 and 21 frames are 79, and one has 16, at 12 a second.
    assert card.hours == {
        "train": pytest.approx(79 / 43200, abs=1e-6),
        "held_out": pytest.approx(16 / 43200, abs=1e-6),
    }
    assert card.histograms == {
        "shots of a scene": {"1": 1, "2": 1, "3": 1},
        "seconds of a shot": {"0": 1, "1": 5},
        "size": {"32x48": 6},
    }
    assert card.aspect_error == 0
    assert (card.channels, card.text_width, card.height, card.width) == (8, 16, 32, 48)
    assert (card.fps, card.credit) == (12.0, "Tiny by us, CC0")
    assert card.encoder == StandInEncoder(16).identity
    codec = PatchCodec.load(film.prepared / "codec.safetensors", channels=8)
    assert card.codec == codec.identity


def test_shots_followed_without_a_cut_are_aligned_where_a_clip_holds_them(tmp_path):
    film = make_tiny_film(tmp_path)
    """The shot of 8 frames before the seam gets a ninth. With clips of 5 frames it stays, because its last clip ends
    it."""
    annotated = load_scene_file(film.scenes)
    assert [len(r) for r in align_shots(annotated, longest=9).scenes[1].ranges] == [9, 20]
    assert align_shots(annotated, longest=5) == annotated


@pytest.mark.parametrize(
    ("joined", "followed", "clips", "expected"),
    [
        (False, False, 1, [0]),
        (True, False, 1, [0]),
        (False, True, 1, [125]),
        (True, True, 1, [0, 125]),
        (False, True, 3, [0, 62, 125]),
    ],
)
def test_a_shot_that_is_followed_has_a_clip_that_ends_with_it(joined, followed, clips, expected):
    shot = RawShot("", np.zeros((250, 1, 1, 3), np.uint8), joined, followed)
    assert choose_clips(shot, length=125, clips=clips) == expected
