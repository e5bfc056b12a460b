"""Which shots a new shot sees: the recent or the relevant ones, within a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from lct_jax.config import SamplingConfig
from lct_jax.errors import InputError
from lct_jax.sampling.history import choose_history
from lct_jax.sampling.request import Prompt, SceneRequest, ShotLinks, ShotRequest

CONFIG = SamplingConfig()
RELEVANT = dataclasses.replace(CONFIG, history="relevant")


def make_request(links: list[ShotLinks], *, topics: list[int] | None = None) -> SceneRequest:
    """Returns shots of two text and four video tokens; prompts of one topic are equal, others orthogonal."""
    topics = topics or [0] * len(links)
    text = lambda topic: np.tile(np.eye(8, dtype=np.float32)[topic], (2, 1))
    shots = (
        ShotRequest(Prompt(text(topic), text(7)), grid=(1, 2, 2), links=tie)
        for tie, topic in zip(links, topics, strict=True)
    )
    return SceneRequest(prompt=None, shots=tuple(shots), channels=1)


def cast(*names: str) -> ShotLinks:
    return ShotLinks(characters=frozenset(names))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CONFIG, (3, 4, 5, 6, 7, 8, 9, 10)),  # the last eight: the window of training is nine
        (dataclasses.replace(CONFIG, history_shots=2), (9, 10)),
        (dataclasses.replace(CONFIG, window=4), (8, 9, 10)),
        (dataclasses.replace(CONFIG, history_tokens=13), (9, 10)),  # six tokens each
        (dataclasses.replace(CONFIG, history_tokens=5), ()),
    ],
)
def test_recent_history_within_the_budget(config, expected):
    assert choose_history(make_request([ShotLinks()] * 12), 11, config) == expected


def test_the_first_shot_sees_nothing():
    assert choose_history(make_request([ShotLinks()] * 2), 0, RELEVANT) == ()


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (ShotLinks(shots=(0,)), 0),
        (ShotLinks(named=frozenset({"Ana"})), 1),
        (ShotLinks(named=frozenset({"quay"})), 2),
        (ShotLinks(goes_on=True), 4),
        (ShotLinks(goes_on=True, shots=(0, 1), named=frozenset({"Ana"})), 4),
        (ShotLinks(shots=(3,), named=frozenset({"Ana"})), 3),  # a number says more than a name
        (ShotLinks(characters=frozenset({"Ana"})), 1),  # nothing is named: who is in both shots
        (ShotLinks(place="quay"), 2),
        (ShotLinks(), 4),  # all are alike: the nearest
    ],
)
def test_relevant_history_by_named_links_then_shared_ones(last, expected):
    links = [ShotLinks(), cast("Ana", "Bo"), ShotLinks(place="quay"), cast("Bo"), ShotLinks(), last]
    config = dataclasses.replace(RELEVANT, history_shots=1)
    assert choose_history(make_request(links), 5, config) == (expected,)


@pytest.mark.parametrize("history", ["recent", "relevant"])
def test_a_shot_that_goes_on_sees_the_one_before_or_the_line_says_how(history):
    request = make_request([ShotLinks(), ShotLinks(), ShotLinks(goes_on=True)])
    config = dataclasses.replace(CONFIG, history=history, history_tokens=6)
    assert choose_history(request, 2, config) == (1,)
    config = dataclasses.replace(config, history_tokens=5)
    expected = r"sampling.history_tokens: found 5, expected at least 6: shots\[2\] .* shots\[1\]"
    with pytest.raises(InputError, match=expected):
        choose_history(request, 2, config)
    # A given shot has its pictures already; and a window of one shot shows every shot alone.
    assert choose_history(give(request, (), videos=(2,)), 2, config) == ()
    assert choose_history(request, 2, dataclasses.replace(config, window=1)) == ()


def test_a_key_shot_that_goes_on_from_one_that_is_sampled_later_is_refused():
    request = make_request([ShotLinks(), ShotLinks(goes_on=True, is_key=True)])
    with pytest.raises(
        InputError, match=r"shots\[1\].key: found true where .* shots\[0\], which is"
    ):
        choose_history(request, 1, CONFIG)
    request = make_request([ShotLinks(is_key=True), ShotLinks(goes_on=True, is_key=True)])
    assert choose_history(request, 1, CONFIG) == (0,)


def give(
    request: SceneRequest, pictures: Sequence[int], videos: Sequence[int] = ()
) -> SceneRequest:
    """Makes some shots given pictures, of one latent frame, and some given videos of two."""
    shots = list(request.shots)
    for number in (*pictures, *videos):
        grid = (1, 2, 2) if number in pictures else (2, 2, 2)
        clean = np.zeros((int(np.prod(grid)), 1), np.float32)
        shots[number] = dataclasses.replace(shots[number], grid=grid, given=clean)
    return dataclasses.replace(request, shots=tuple(shots))


@pytest.mark.parametrize("config", [CONFIG, RELEVANT])
def test_given_pictures_stay_in_the_history_however_long_the_scene(config):
    request = give(make_request([ShotLinks()] * 30), (0, 1))
    for shot in range(9, 30):
        recent = tuple(range(shot - 6, shot))
        assert choose_history(request, shot, config) == (0, 1, *recent)


def test_the_shot_before_stays_in_the_history_with_many_given_pictures():
    request = give(make_request([ShotLinks()] * 20), range(10), videos=(12,))
    assert choose_history(request, 15, CONFIG) == (*range(3, 10), 14)
    # A given video is a shot like others, and leaves the history when it is far behind.
    request = give(make_request([ShotLinks()] * 20), (1,), videos=(0,))
    assert choose_history(request, 15, CONFIG) == (1, 8, 9, 10, 11, 12, 13, 14)


def test_relevant_history_by_prompt_similarity():
    request = make_request([ShotLinks()] * 5, topics=[3, 1, 3, 2, 3])
    assert choose_history(request, 4, dataclasses.replace(RELEVANT, history_shots=2)) == (0, 2)


def test_relevant_history_by_shared_characters():
    links = [
        cast("Ana", "Bo", "Cy"),
        cast("Ana"),
        cast("Ana", "Bo"),
        ShotLinks(),
        cast("Ana", "Bo"),
    ]
    config = dataclasses.replace(RELEVANT, history_shots=2)
    assert choose_history(make_request(links), 4, config) == (0, 2)  # 2/3 and 2/2 before 1/2


def test_a_history_that_the_script_names_is_taken_as_it_is():
    links = [ShotLinks(), ShotLinks(), ShotLinks(), ShotLinks(history=(2, 0), goes_on=True)]
    assert choose_history(make_request(links), 3, RELEVANT) == (0, 2)
    links[3] = ShotLinks(history=())
    assert choose_history(make_request(links), 3, CONFIG) == ()


def test_pictures_of_whom_a_shot_names_are_seen_besides_a_named_history():
    links = [ShotLinks(), ShotLinks(characters=frozenset({"Ana"}), history=(0,))]
    pictures = [ShotLinks(picture_of="Ana"), ShotLinks(picture_of="Rui")]
    assert choose_history(make_request([*links, *pictures]), 1, CONFIG) == (0, 2)


def test_a_named_history_longer_than_the_window_is_refused():
    request = make_request([*[ShotLinks()] * 3, ShotLinks(history=(0, 1, 2))])
    with pytest.raises(InputError, match=r"shots\[3\].history: found 3 shots and pictures, expec"):
        choose_history(request, 3, dataclasses.replace(CONFIG, window=3))
