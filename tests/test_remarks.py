"""Tests which remarks are made about a script, and that a script as it should be gets none."""

from __future__ import annotations

import pytest

from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt
from lct_jax.directing.remarks import review_script
from lct_jax.directing.script import Script

CAST = {"1": "A tall man in a grey coat.", "2": "A girl with red boots."}
PLACE = "A quay in Lisbon under a low sun."
FIRST = "Wide shot: Character 1 walks along the quay with Character 2."


def review(
    *shots: ShotPrompt | str, characters: dict[str, str] = CAST, environment: str = PLACE
) -> list[str]:
    """Returns the remarks about a script whose first shot is as it should be."""
    prompt = GlobalPrompt(characters, environment, "Character 1 walks home.")
    made = [ShotPrompt(shot) if isinstance(shot, str) else shot for shot in (FIRST, *shots)]
    return [str(remark) for remark in review_script(Script(prompt, tuple(made)))]


@pytest.mark.parametrize(
    "good",
    [
        "Close-up of Character 2, who lifts both hands towards Lisbon.",
        "Medium shot of the empty quay, the camera pans slowly to the left.",
        "Character 1's coat sways while Character 2 rides past.",
    ],
)
def test_a_script_as_it_should_be_gets_no_remarks(good):
    assert review(good) == []


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (
            "Character 1 walks on without a hat.",
            "'without': models draw what is named, say what is there instead",
        ),
        ("Character 1 isn't moving a finger.", '"isn\'t": models draw what is named'),
        ("She runs down the steps.", "'She' is nobody to a model: write 'Character ID' anew"),
        ("Wide shot: both run down the steps.", "'both' is nobody to a model"),
        ("Wide shot of Miguel running away.", "'Miguel' looks like a name: people are 'Character"),
        (
            "Close-up of Character 2 in the warm light.",
            "nothing changes in it: name a movement of somebody or of the camera",
        ),
        (
            "Character 1 sits down, then opens a book, then falls asleep.",
            "several events, one after another: make them shots of their own",
        ),
        ('Character 1 opens a door marked "Exit".', '"Exit" would have to be readable'),
        ("Character 1 turns at the sound of bells.", "'sound' cannot be seen"),
        ("Character 1 runs.", "found 3 words, 4 to 60 serve best"),
        (FIRST, "says the same as the shot before it"),
    ],
)
def test_what_a_shot_asks_for_in_vain_is_said(text, remark):
    (found,) = review(text)
    assert found.startswith(f"shots[1].prompt: {remark}")


def test_a_picture_and_a_given_shot_need_no_movement():
    still = ShotPrompt("Close-up of Character 2 in the warm light.", frames=1)
    assert review(still) == []


def test_more_people_than_a_shot_holds():
    cast = {name: "A tall man in a coat." for name in "1234"}
    text = "Character 1, Character 2, Character 3 and Character 4 walk along the quay."
    assert review(text, characters=cast) == [
        "shots[1].prompt: more than 3 characters at once are mixed up"
    ]


def test_a_shot_that_goes_on_goes_on_from_one_at_the_same_place():
    shots = [ShotPrompt(FIRST, cut=False, place="quay"), ShotPrompt(FIRST, place="roof", cut=False)]
    assert [str(remark) for remark in review_script(Script(None, tuple(shots)))] == [
        "environment: is empty: each shot may look as if filmed somewhere else",
        "shots[0].cut: false, but there is no shot before it to go on from",
        "shots[1].prompt: says the same as the shot before it",
        "shots[1].cut: false, but it goes from 'quay' to 'roof'",
    ]


def test_what_is_described_in_vain():
    cast = {**CAST, "3": "A sailor named Rui, not old."}
    assert review(characters=cast, environment="") == [
        "environment: is empty: each shot may look as if filmed somewhere else",
        "characters.3: 'not': models draw what is named, say what is there instead",
        "characters.3: 'Rui' is a name, which looks like nobody",
        "characters.3: is named by no shot: prompts write 'Character ID'",
    ]
