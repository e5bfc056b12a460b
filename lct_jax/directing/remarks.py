"""Reads a script for what video models do badly, and says so before hours are spent on sampling it.

A script that `load_script` takes is a script that can be sampled; it may still ask for what no model makes of words:
things that are absent, people who are called "she", two events in three seconds, a shot in which nothing moves. These
are remarks and no errors. They are found by words, in English, so that some are wrong and some things are missed.

    python -m lct_jax.directing.review --script=FILE
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lct_jax.directing.prompts import ShotPrompt, find_characters
from lct_jax.directing.script import Script

# The most people whom a shot names, and the most words that say what is in it; both are ours.
MOST_PEOPLE, MOST_WORDS, LEAST_WORDS = 3, 60, 4

_NEGATION = re.compile(r"\b(no|not|never|without|nobody|nothing|none|neither|\w+n't)\b", re.I)
_PRONOUN = re.compile(
    r"\b(he|she|him|her|hers|his|himself|herself|they|them|their|theirs|themselves)\b"
    r"|\bboth characters\b|\bboth\b(?! \w+s\b)"
    r"|\bthe (?:two|couple|pair|duo)\b(?= (?:\w+s\b|of them)|[.,;:]|$)",
    re.IGNORECASE,
)
_HEARD = re.compile(r"\b(sound|music(?! box)|melody|song|voice|noise|hears?|says|silence)\b", re.I)
_WRITTEN = re.compile(r"[\"“”][^\"“”]*\w[^\"“”]*[\"“”]|(?<!\w)'[^']*\w'(?!\w)")
_NAMED = re.compile(r"\b(?:named|called)\s+[\"“']?([A-Z]\w+)")
# A capital behind a lower-case word, a comma or a hyphen: inside of a sentence.
_CAPITAL = re.compile(r"(?<=[a-z,;-] )([A-Z][a-z]+)\b(?! \d)")
_THEN = re.compile(r"\b(then|afterwards|after that|finally|next)\b", re.IGNORECASE)
# Stems of what moves, in the picture or with the camera, as they stand before an ending such as -s or -ing.
_STEMS = (
    r"appear|approach|arriv|back|bend|bit|blink|blow|bow|break|breath|brush|burn|catch|chew"
    r"|circl|clean|climb|com|cook|crack|crawl|creep|cri|cry|cut|cycl|danc|dig|disappear|dolly"
    r"|drag|draw|drift|drink|driv|drop|eat|embrac|enter|exit|fad|fall|flicker|flies|float|flow"
    r"|fly|fold|follow|frown|giv|glanc|glow|go|grab|grow|hop|hug|hurr|jump|kiss|kneel|knock|laugh"
    r"|lay|lean|leap|leav|lift|listen|lock|look|lower|march|melt|mov|nod|open|paint|pan|pass"
    r"|pedal|pet|pick|place|plant|play|point|pour|press|pull|push|put|rac|rain|rais|reach|read"
    r"|rid|ripple|rippl|ris|rock|roll|row|run|rush|scratch|search|set|settl|shak|shiver|shout"
    r"|shrink|sing|sink|sip|slid|smil|snow|speak|spill|spin|splash|spread|start|step|stir|stop"
    r"|stretch|stroll|strok|sway|swim|swing|tak|talk|throw|tilt|toss|touch|track|trembl|turn|typ"
    r"|unfold|unlock|unscrew|vanish|wak|walk|wander|wash|watch|wav|whisper|wip|writ|yawn|zoom"
)
# "Close" alone is a framing.
_MOTION = re.compile(
    rf"\b(?:{_STEMS})\w?(?:s|es|ing|ed|e|n)?\b|\bclos(?:es|ing)\b"
    r"|\b(?:stand|sit|hold|hand)(?:s|ing)? (?:up|down|out|over)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Remark:
    """What a model may do badly.

    Attributes:
        field: the field of the script, such as "shots[2].prompt".
        text: what was found, and what to write instead.
    """

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def find_pronouns(text: str) -> list[str]:
    """Returns the pronouns, and the words such as "both", by which a text names people."""
    return [found[0] for found in _PRONOUN.finditer(text)]


def review_script(script: Script) -> list[Remark]:
    """Returns what is to be said of a script, in the order of its fields."""
    return [*_review_scene(script), *_review_shots(script)]


def _review_scene(script: Script) -> Iterator[Remark]:
    prompt = script.prompt
    if prompt is None or not prompt.environment:
        yield Remark("environment", "is empty: each shot may look as if filmed somewhere else")
    if prompt is None:
        return
    named = {name for shot in script.shots for name in find_characters(shot.text)}
    for name, text in prompt.characters.items():
        field = f"characters.{name}"
        yield from _find_absent(field, text)
        if found := _NAMED.search(text):
            yield Remark(field, f"{found[1]!r} is a name, which looks like nobody")
        if name not in named:
            yield Remark(field, "is named by no shot: prompts write 'Character ID'")
    yield from _find_absent("environment", prompt.environment)


def _review_shots(script: Script) -> Iterator[Remark]:
    known = "" if script.prompt is None else script.prompt.environment
    before: ShotPrompt | None = None
    for number, shot in enumerate(script.shots):
        field = f"shots[{number}].prompt"
        if script.prompt is not None and (found := find_pronouns(shot.text)):
            yield Remark(field, f"{found[0]!r} is nobody to a model: write 'Character ID' anew")
        if names := _find_names(shot.text, known):
            yield Remark(field, f"{names[0]!r} looks like a name: people are 'Character ID'")
        if not shot.given:
            yield from _review_event(field, shot, before)
        yield from _find_absent(field, shot.text)
        yield from _review_words(field, shot.text)
        yield from _review_join(number, shot, before)
        before = shot


def _review_event(field: str, shot: ShotPrompt, before: ShotPrompt | None) -> Iterator[Remark]:
    """Yields remarks about what happens in a shot: nothing, the same as before, or too much."""
    if before is not None and shot.text == before.text:
        yield Remark(field, "says the same as the shot before it")
    elif shot.frames != 1 and not _MOTION.search(shot.text):
        yield Remark(field, "nothing changes in it: name a movement of somebody or of the camera")
    if len(_THEN.findall(shot.text)) > 1:
        yield Remark(field, "several events, one after another: make them shots of their own")


def _review_words(field: str, text: str) -> Iterator[Remark]:
    if found := _WRITTEN.search(text):
        yield Remark(field, f"{found[0]} would have to be readable, which it rarely is")
    if found := _HEARD.search(text):
        yield Remark(field, f"{found[0]!r} cannot be seen")
    if len(find_characters(text)) > MOST_PEOPLE:
        yield Remark(field, f"more than {MOST_PEOPLE} characters at once are mixed up")
    words = len(text.split())
    if not LEAST_WORDS <= words <= MOST_WORDS:
        yield Remark(field, f"found {words} words, {LEAST_WORDS} to {MOST_WORDS} serve best")


def _review_join(number: int, shot: ShotPrompt, before: ShotPrompt | None) -> Iterator[Remark]:
    field = f"shots[{number}].cut"
    if shot.cut:
        return
    if before is None:
        yield Remark(field, "false, but there is no shot before it to go on from")
    elif shot.place and before.place and shot.place != before.place:
        yield Remark(field, f"false, but it goes from {before.place!r} to {shot.place!r}")


def _find_absent(field: str, text: str) -> Iterator[Remark]:
    if found := _NEGATION.search(text):
        said = f"{found[0]!r}: models draw what is named, say what is there instead"
        yield Remark(field, said)


def _find_names(text: str, known: str) -> Sequence[str]:
    """Returns words with a capital inside of a sentence, without IDs and what the environment names too."""
    places = [match.span(1) for match in re.finditer(r"\bCharacter (\w+)", text)]
    return [
        match[1]
        for match in _CAPITAL.finditer(text)
        if match[1] != "Character" and match.span(1) not in places and match[1] not in known
    ]
