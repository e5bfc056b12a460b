"""Tests the LLM director against a real server on loopback: what is asked, taken, repaired and refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from chat_asks import make_chat
from chat_server import Reply, answer, message, serve_chat, status, stream, unless

from lct_jax.chat import ChatError, Piece, parse_json
from lct_jax.directing.director import INSTRUCTION, check_answer, write_script
from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

GOOD: dict[str, Any] = {
    "characters": {"1": "A woman in a red coat.", "2": "A boy in a yellow cap."},
    "environment": "A harbour at dawn.",
    "story": "Character 1 teaches Character 2 to fish.",
    "shots": [
        {"place": "pier", "prompt": "Wide shot: Character 1 walks onto the pier."},
        {"place": "pier", "prompt": "Close-up: Character 2 lifts a rod towards Character 1."},
    ],
}
SCRIPT = Script(
    prompt=GlobalPrompt(GOOD["characters"], GOOD["environment"], GOOD["story"]),
    shots=tuple(ShotPrompt(shot["prompt"], place="pier") for shot in GOOD["shots"]),
)
PROSE = """\
Here is the script.

**A. Global Description**

**A.1 Characters**
- **Character 1 (the mother):** A woman in a red coat.
- **Character 2:** A boy in a yellow cap.

**A.2 Environment**
A harbour
at dawn.

**A.3 Storyline:** Character 1 teaches Character 2 to fish.

B. Per-shot Description

**Shot 1.** Wide shot: Character 1 walks onto the pier.

Shot 2
Close-up: Character 2 lifts a rod
towards Character 1.

Shall I write more?"""


# The layout of the paper as models write it: letters and numbers before every line, brackets, and no blank lines.
LETTERED = """\
A. Global Prompt
A.1 Characters
Character [1]: A woman in a red coat.
Character [2]: A boy in a yellow cap.
A.2 Environment
A harbour at dawn.
A.3 Storyline
Character [1] teaches Character [2] to fish.
B. Shot List
B.1 Shot 1: Wide shot: Character [1] walks onto the pier.
B.2 Shot 2: Close-up: Character [2] lifts a rod towards Character [1]."""
NUMBERED = """\
1) Characters:
1. Character 1: A woman in a red coat.
2. Character 2: A boy in a yellow cap.
2) Environment: A harbour at dawn.
3) Story overview: Character 1 teaches Character 2 to fish.
4) Shots:
1. Shot 1 - Wide shot: Character 1 walks onto the pier.
2. Shot 2 - Close-up: Character 2 lifts a rod towards Character 1."""
# Roman numbers, letters in parentheses, and shots of two paragraphs, as Markdown has them.
TITLED = """\
## I. Global prompt

### (a) Characters

Character 1 — A woman in a red coat.

Character 2： A boy in a yellow cap.

### II. Environment

A harbour at dawn.

### (c) Story

Character 1 teaches Character 2 to fish.

## IV. Shots

### Shot #1: Wide shot:

Character 1 walks onto the pier.

### (b) Shot 2 (0:04-0:08): Close-up:

Character 2 lifts a rod towards Character 1.

---

Shall I write more?"""
BRACKETED = """\
[Characters]
[Character 1]: A woman in a red coat.
[Character 2]: A boy in a yellow cap.
[Environment] A harbour at dawn.
[Story] [Character 1] teaches [Character 2] to fish.
[Shots]
[Shot 1] Wide shot: [Character 1] walks onto the pier.
[Shot 2] Close-up: [Character 2] lifts a rod towards [Character 1]."""


def change(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def shot(text: str) -> dict[str, Any]:
    """Returns the good answer with another second shot."""
    return change(shots=[GOOD["shots"][0], {"prompt": text}])


def direct(replies: list[Reply], **options: Any) -> tuple[Script, list[str]]:
    """Returns the script of an idea, and the last messages that the model was sent, one a request."""
    with serve_chat(replies) as server:
        chat = make_chat(server.url, None)
        script = write_script(chat, "Fishing.", shots=2, **options)
    return script, [asked["messages"][-1]["content"] for asked in server.asked]


def plain(script: Script) -> tuple[GlobalPrompt, list[str]]:
    """Returns the texts of a script without the places, which prose has not."""
    return script.prompt, [shot.text for shot in script.shots]


def test_a_script_is_asked_for_by_idea_and_number_of_shots():
    script, (asked,) = direct([answer(GOOD)])
    assert script == SCRIPT
    assert asked == (
        "Write the script of a scene of exactly 2 shots, in English. The idea: Fishing."
    )


def test_the_same_idea_may_become_another_script():
    other = change(story="Character 1 sells a boat to Character 2.")
    with serve_chat([answer(GOOD), answer(other)]) as server:
        chat = make_chat(server.url, None)
        scripts = [write_script(chat, "Fishing.", shots=2) for _ in range(2)]
    assert [script.prompt.story for script in scripts] == [GOOD["story"], other["story"]]


@pytest.mark.parametrize(
    "good",
    [
        message(content=f"<think>Shot 1 {{first}}</think>\n```json\n{json.dumps(GOOD)}\n```"),
        answer(change(characters=list(GOOD["characters"].values()))),
        answer(change(characters={f"Character {n}": x for n, x in GOOD["characters"].items()})),
        answer(change(shots=[shot["prompt"] for shot in GOOD["shots"]])),
        answer(change(characters=[{"id": n, "look": x} for n, x in GOOD["characters"].items()])),
        answer(change(characters={n: {"look": x} for n, x in GOOD["characters"].items()})),
        answer(change(shots={f"Shot {n}": x for n, x in enumerate(GOOD["shots"], start=1)})),
        answer(change(shots=[{"shot": n, **x} for n, x in enumerate(GOOD["shots"], start=1)])),
        answer(json.loads(json.dumps(GOOD).replace("Character 1", "Character [1]"))),
        answer({"script": GOOD}),
        message(content=json.dumps(GOOD, indent=1).replace("at dawn", "\n at dawn")),
        message(content=PROSE),
        message(content=LETTERED),
        message(content=NUMBERED),
        message(content=BRACKETED),
        message(content=TITLED),
        message(content=f"<think>\nShot 1. A pier.\n</think>\n{PROSE}"),
        unless(lambda asked: "response_format" in asked, status(400, "no"), message(content=PROSE)),
    ],
    ids=lambda _: "",
)
def test_the_same_script_in_other_forms(good):
    script, _ = direct([good])
    assert plain(script) == plain(SCRIPT)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (change(shots=GOOD["shots"][:1]), "answer: shots: found 1 texts, expected exactly 2"),
        (shot("Character 3 waves."), "answer: shots[1]: mentions 'Character 3', who is not"),
        (shot("She lifts a rod."), "answer: shots[1]: names somebody as 'She', expected 'Char"),
        (shot("Character 1 hugs the couple."), "shots[1]: names somebody as 'the couple'"),
        (shot("A gull lands."), "characters: describes Character 2, whom no shot names"),
        (shot("[SHOT CUT] Character 2 waves."), "answer: shots[1].prompt: found the tag"),
        (change(environment="Where Character 4 lives."), "answer: environment: mentions 'Char"),
        (change(characters={"1": "The sister of Character 9."}), "characters.1: mentions 'Char"),
        (change(shots={"1": GOOD["shots"][0], "3": GOOD["shots"][1]}), "shots: found an object"),
        (change(shots=[GOOD["shots"][0], {"shot": "Rain."}]), "shots[1]: unknown key 'shot'"),
        (change(mood="calm"), "answer: top level: unknown key 'mood'"),
        ("I would love to!", "found no JSON object, and no lines that begin with Shot 1"),
        (PROSE.replace("Shot 2", "Shot 3"), "found Shot 3, expected Shot 2"),
        (PROSE.replace("A.2 Environment", "A.2 Where"), "top level: key 'environment' is missing"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_an_answer_that_breaks_a_rule_is_asked_for_again_with_the_complaint(bad, complaint):
    script, asked = direct([answer(bad), answer(GOOD)])
    assert script == SCRIPT
    assert len(asked) == 2
    assert complaint in asked[1]


def test_prose_that_was_cut_off_is_asked_for_again():
    cut = message("length", content=PROSE.partition("towards")[0])
    script, asked = direct([cut, answer(GOOD)])
    assert script == SCRIPT
    assert "it was cut off" in asked[1]


def test_a_pronoun_in_the_last_answer_is_taken():
    script, asked = direct([answer(shot("She waves to Character 2."))])
    assert len(asked) == 3
    assert script.shots[1].text == "She waves to Character 2."


def test_every_answer_is_handed_on_as_it_came():
    heard: list[str] = []
    direct([answer("Gladly."), message(content=PROSE)], on_answer=heard.append)
    assert heard == ["Gladly.", PROSE]


def test_a_streamed_script_is_shown_as_it_grows():
    text = json.dumps(GOOD)
    heard: list[Piece] = []
    replies = [stream("Well", end="", done=False), stream(text[:40], text[40:])]
    script, _ = direct(replies, on_piece=heard.append)
    assert script == SCRIPT
    assert [(piece.attempt, piece.text) for piece in heard] == [
        (1, "Well"),
        (2, text[:40]),
        (2, text[40:]),
    ]


def test_texts_that_are_too_long_are_asked_for_again():
    def check_length(prompt: GlobalPrompt | None, texts: Any) -> None:
        if any("pier" in text for text in texts):
            raise InputError("answer: shots[0]: found 300 tokens, expected at most 256")

    better = change(shots=["Character 1 walks.", "Character 2 waves."])
    script, asked = direct([answer(GOOD), answer(better)], check_length=check_length)
    assert script.shots[0].text == "Character 1 walks."
    assert "found 300 tokens" in asked[1]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (message(content=None, refusal="Not about fish."), "the model refused: Not about fish."),
        (answer("Gladly."), "3 answers were refused, the last one because found no JSON object"),
    ],
    ids=["refusal", "no script"],
)
def test_no_script_is_an_error_with_the_reason(bad, said):
    with pytest.raises(ChatError, match=said):
        direct([bad])


def test_images_are_shown_described_and_given_before_the_shots():
    images = {"a/face.png": np.zeros((8, 8, 3), np.uint8), "hall.png": np.ones((8, 8, 3), np.uint8)}
    texts = ["A close-up of Character 1.", "A wide shot of the pier."]
    script, (asked, again) = direct([answer(GOOD), answer(change(images=texts))], images=images)
    assert [part["type"] for part in asked] == ["text", "text", "image_url", "text", "image_url"]
    assert "images: found 0 texts, expected exactly 2" in again
    assert script.shots[:2] == tuple(
        ShotPrompt(text, given=Condition(path)) for text, path in zip(texts, images, strict=True)
    )
    assert script.shots[2:] == SCRIPT.shots


def test_the_instruction_keeps_its_own_rules():
    """Its example is a shot that the check takes, and the answer that it describes has the keys that are read."""
    example = parse_json(INSTRUCTION[INSTRUCTION.rindex('{"place"') :])
    script = check_answer(change(shots=[example]), shots=1)
    assert script.shots[0].place == "potting bench"
    assert all(f"- {key}:" in INSTRUCTION for key in GOOD)
