"""Tests the way from frames to takes and scenes: cuts, fades, filters, events, groups and repetitions."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from lct_jax.config import FootageConfig
from lct_jax.data.footage.cuts import FrameStats, find_bursts, is_repeated, track_film
from lct_jax.data.footage.takes import REASONS, Takes, divide, find_takes
from lct_jax.errors import InputError
from lct_jax.media.frame_rate import first_frame

CONFIG = FootageConfig(shortest=4)


COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40))


def film(colour: tuple[int, int, int], count: int, *, seed: int = 0) -> np.ndarray:
    """Returns a shot: textured ground of a colour with a bright square moving over it, uint8 [count, 48, 64, 3]."""
    rng = np.random.default_rng(seed)
    ground = np.clip(np.array(colour) + rng.integers(-40, 40, (48, 64, 1)), 0, 255)
    frames = np.repeat(ground[None], count, axis=0).astype(np.uint8)
    for number, frame in enumerate(frames):
        frame[10:22, number % 50 : number % 50 + 12] = 240
    return frames


def write_card(count: int, colours: tuple = (230,)) -> np.ndarray:
    """Returns rows of strokes, as letters make them, over plain ground; they creep upwards. Colours alternate by
    rows."""
    frames = np.full((count, 90, 160, 3), 20, np.uint8)
    for number, frame in enumerate(frames):
        for row, top in enumerate(range(10, 80, 10)):
            place = (top - number) % 80
            frame[place : place + 5, 20:140:4] = colours[row % len(colours)]
    return frames


def find(*shots: np.ndarray, config: FootageConfig = CONFIG) -> Takes:
    frames = np.concatenate(shots)
    return find_takes(track(frames, config), config, size=frames.shape[1:3])


def track(frames: np.ndarray, config: FootageConfig = CONFIG) -> FrameStats:
    """Returns the statistics of frames that are each shown once."""
    return track_film(((frame, 1) for frame in frames), config)


def summary(takes: Takes) -> list[tuple[int, int, str]]:
    return [
        (*frames, REASONS[reason])
        for frames, reason in zip(takes.frames.tolist(), takes.reason.tolist(), strict=True)
    ]


# ---- cuts and fades ------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["adaptive", "content"])
def test_hard_cuts_are_found_where_they_are(detector):
    threshold = {"adaptive": 3.0, "content": 12.0}[detector]  # only the hue changes
    config = dataclasses.replace(CONFIG, detector=detector, cut_threshold=threshold)
    takes = find(*(film(colour, 20) for colour in COLOURS), config=config)
    assert summary(takes) == [(start, start + 20, "") for start in (0, 20, 40, 60)]
    assert takes.parts.tolist() == [[n, 20 * n, 20 * n + 20] for n in range(4)]
    assert takes.film.tolist() == [80, 48, 64]


def test_a_cut_into_wild_movement_is_found():
    rng = np.random.default_rng(0)
    wild = np.concatenate([film(rng.integers(0, 255, 3), 1, seed=seed) for seed in range(12)])
    calm = np.concatenate([film(COLOURS[0], 20)])
    for frames, cut in ((np.concatenate([calm, wild]), 20), (np.concatenate([wild, calm]), 12)):
        found, without = (
            track(frames, dataclasses.replace(CONFIG, cut_burst=burst)).cuts
            for burst in (50.0, 256.0)
        )
        assert cut in found
        assert cut not in without  # the detector alone does not find it


def test_a_burst_needs_a_strong_change_and_a_calm_side():
    calm, wild = [1.0, 1.0, 1.0], [60.0, 40.0, 55.0, 52.0, 48.0]
    assert find_bursts(np.array([0.0, *calm, *wild]), CONFIG) == [4]
    assert find_bursts(np.array([0.0, *wild[::-1], *calm]), CONFIG) == [5]
    assert find_bursts(np.array([0.0, *calm, 49.0, *wild[1:]]), CONFIG) == []  # not strong
    assert find_bursts(np.array([0.0, 11.0, 11.0, 11.0, *wild]), CONFIG) == []  # not calm: 6 x 11
    assert [find_bursts(np.full(count, 60.0), CONFIG) for count in range(7)] == [[]] * 7


def test_a_short_shot_is_left_out_and_not_joined_to_its_neighbour():
    takes = find(film(COLOURS[0], 20), film(COLOURS[1], 3), film(COLOURS[2], 20))
    assert summary(takes) == [(0, 20, ""), (20, 23, "too short"), (23, 43, "")]


def test_a_fade_through_black_is_a_cut_and_neither_side_keeps_it():
    first, second = film(COLOURS[0], 30), film(COLOURS[1], 30)
    down, up = (
        np.linspace(1, 0, 10)[:, None, None, None],
        np.linspace(0, 1, 10)[:, None, None, None],
    )
    first[-10:] = first[-10:] * down
    second[:10] = second[:10] * up
    takes = find(first, np.zeros((6, 48, 64, 3), np.uint8), second)
    kept = [frames for *frames, reason in summary(takes) if not reason]
    assert len(kept) == 2
    (start, end), (again, last) = kept
    assert (start, last) == (0, 66)
    # Half of a shot's light is left in frame 24 of the first and 41 of the second.
    assert 24 <= end <= 26
    assert 40 <= again <= 42
    assert "black" in {reason for *_, reason in summary(takes)}


# ---- filters -------------------------------------------------------------------------------------


def test_takes_that_are_no_shots_are_set_aside_with_a_reason():
    still = np.repeat(film(COLOURS[2], 1), 20, axis=0)
    black = np.zeros((15, 48, 64, 3), np.uint8)
    takes = find(film(COLOURS[0], 20), still, film(COLOURS[1], 20), black, film(COLOURS[3], 3))
    assert summary(takes) == [
        (0, 20, ""),
        (20, 40, "frozen"),
        (40, 60, ""),
        (60, 75, "black"),
        (75, 78, "too short"),
    ]
    assert set(takes.parts[:, 0].tolist()) == {0, 2}


def test_titles_and_rolling_credits_are_found():
    assert summary(find(write_card(30))) == [(0, 30, "titles or credits")]
    yellow = write_card(30, ((230, 210, 60),))
    assert summary(find(yellow)) == [(0, 30, "titles or credits")]


def test_thin_objects_of_several_colours_on_plain_ground_are_no_titles():
    things = write_card(30, ((230, 60, 60), (60, 230, 60), (240, 240, 240)))
    assert summary(find(things)) == [(0, 30, "")]


# ---- division of takes ---------------------------------------------------------------------------


def test_a_take_is_divided_at_its_event_and_only_there():
    frames = np.full((100, 2, 2, 3), 50, np.uint8)
    frames[37:] = 120
    assert divide(frames, CONFIG) == ([(0, 37), (37, 100)], True)
    quiet = dataclasses.replace(CONFIG, event=71.0)
    assert divide(frames, quiet) == ([(0, 100)], False)
    assert divide(frames[:50], CONFIG) == ([(0, 50)], False)  # shorter than `take`


def test_a_take_that_is_too_long_is_divided_evenly_into_the_fewest_parts():
    frames = np.full((251, 2, 2, 3), 50, np.uint8)
    assert divide(frames[:125], CONFIG) == ([(0, 125)], False)
    assert divide(frames[:126], CONFIG) == ([(0, 65), (65, 126)], False)
    assert divide(frames, CONFIG) == ([(0, 85), (85, 166), (166, 251)], False)


@pytest.mark.parametrize(
    ("shortest", "longest"), [(5, 125), (4, 17), (5, 18), (7, 33), (3, 8), (6, 14)]
)
def test_every_part_but_the_last_is_4n_plus_1_and_none_is_too_long_or_too_short(shortest, longest):
    config = dataclasses.replace(CONFIG, shortest=shortest, longest=longest)
    rng = np.random.default_rng(0)
    for count in (*range(shortest, 300), 1001):
        # Events lie at all distances, also closer than parts may be.
        held = rng.integers(1, 17, count)
        frames = np.repeat(rng.integers(0, 255, count), held)[:count].astype(np.uint8)
        parts, _ = divide(frames[:, None], config)
        assert parts[0][0] == 0 and parts[-1][1] == count
        assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
        lengths = [end - start for start, end in parts]
        assert all(length % 4 == 1 for length in lengths[:-1]), lengths
        assert shortest <= min(lengths) and max(lengths) <= longest, lengths


def test_a_take_of_hours_is_divided_in_little_memory():
    """Differences of doubles of ten thousand frames of 1,296 bytes would be 622 MB, twelve times over."""
    frames = np.repeat(np.arange(20, dtype=np.uint8) * 12, 500)
    pictures = np.broadcast_to(frames[:, None], (10_000, 432)).copy()
    tracemalloc.start()
    parts, at_events = divide(pictures, dataclasses.replace(CONFIG, event=5.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert at_events and len(parts) >= 80
    assert peak < 25e6


def test_repeated_frames_are_no_cuts_and_cuts_beside_them_are_found():
    """Every picture is shown twice, so any motion stands out from the repetitions beside it."""
    twos = np.array([0.0, *[8.0, 0.1] * 10])
    assert is_repeated(twos, 9, 3.0)
    twos[9] = 60.0
    assert not is_repeated(twos, 9, 3.0)
    assert not is_repeated(np.full(21, 8.0), 9, 3.0)  # nothing is repeated
    # Motions follow one another, because two pictures of three are new.
    uneven = np.array([0.0, *[8.0, 7.0, 0.1] * 7])
    uneven[10] = 20.0
    assert not is_repeated(uneven, 10, 3.0)
    slides = np.zeros(21)
    slides[9] = 40.0
    assert not is_repeated(slides, 9, 3.0)
    slides[[4, 14]] = 40.0  # shots of five frames
    assert not is_repeated(slides, 9, 3.0)


def test_cuts_are_found_among_all_frames_and_placed_on_those_that_are_shown():
    """At 25 a second a cut at frame 50 is at two seconds: 24 frames at 12 a second are shown before."""
    frames = np.concatenate([film(colour, 50) for colour in COLOURS[:3]])
    numbers = [first_frame(Fraction(n, 25), Fraction(12)) for n in range(151)]
    shown = np.diff(numbers).tolist()
    assert track_film(zip(frames, shown, strict=True), CONFIG).cuts == (24, 48)
    assert len(track_film(zip(frames, shown, strict=True), CONFIG).light) == 72


def test_no_part_is_shorter_than_the_shortest():
    frames = np.full((100, 2, 2, 3), 50, np.uint8)
    frames[2:] = 250
    assert divide(frames, CONFIG)[0][0][1] >= CONFIG.shortest
    with pytest.raises(InputError, match=r"footage.longest: found 11, expected at least 12"):
        dataclasses.replace(CONFIG, longest=11, shortest=5)


def test_a_users_shots_replace_detected_cuts():
    frames = np.concatenate([film(colour, 20) for colour in COLOURS])
    takes = find_takes(track(frames), CONFIG, size=(48, 64), given=[(3, 33), (50, 60)])
    assert summary(takes) == [(3, 33, ""), (50, 60, "")]


# ---- scenes --------------------------------------------------------------------------------------


def test_frame_statistics_have_a_row_for_each_frame():
    found = track(film(COLOURS[0], 7))
    assert found.thumb.shape == (7, 9, 16, 3)
    assert found.change[0] == 0
