"""Scripts of HoloCine: one text for the whole scene, and the frames at which it cuts.

The text is `[global caption] ... [per shot caption] ... [shot cut] ... [shot cut] ...`, people are `[character1]`, and
`shot_cut_frames` are frames 4n + 1 of one video of `num_frames`. The layout and the rule for cuts that are not given
are those of yihao-meng/HoloCine at ab32068 (README.md and HoloCine_inference_full_attention.py); files are JSON
objects with the arguments of its `run_inference`, or texts with the prompt alone.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from lct_jax.directing.formats.values import (
    Exported,
    Imported,
    TheirFields,
    check_fields,
    check_texts,
    describe_missing,
    end_sentence,
    fit_lengths,
    name_unread,
    name_unwritten,
    nearest_frames,
)
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt, find_characters
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

# Arguments of HoloCine, and the settings of sampling that they are here.
_SETTINGS = {
    "negative_prompt": "negative_scene",
    "seed": "seed",
    "height": "height",
    "width": "width",
    "num_inference_steps": "steps",
}
_PROMPT = re.compile(r"\[global caption\](.*)\[per shot caption\](.*)", re.DOTALL | re.IGNORECASE)
_CUT = re.compile(r"\[shot cut\]", re.IGNORECASE)
_COUNT = re.compile(r"This scene contains \d+ shots?\.?", re.IGNORECASE)
_CHARACTER = re.compile(r"\[character\s*(\w+)\]", re.IGNORECASE)
_PRONOUN = re.compile(r"(?:He|She|They|His|Her|Their)\b")


class Arguments(TheirFields):
    """The arguments of HoloCine's `run_inference` that have a place in a script."""

    prompt: str | None = None
    global_caption: str = ""
    shot_captions: list[str] | None = None
    num_frames: Annotated[int, Field(gt=0)] | None = None
    shot_cut_frames: list[int] | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    height: int | None = None
    width: int | None = None
    num_inference_steps: int | None = None


def read_holocine(values: Mapping[str, Any] | str) -> Imported:
    """Returns the script in HoloCine's arguments, or in its prompt alone.

    The global caption is one text. The sentence that first names a character becomes its description, with those behind
    it that begin with a pronoun; the others become the environment.

    Raises:
        InputError: the prompt has not its form, or cuts and shots do not agree.
    """
    values = {"prompt": values} if isinstance(values, str) else values
    fields = check_fields(Arguments, values, "arguments")
    caption, texts = _read_prompt(fields)
    characters, environment = _split_cast(_name(caption))
    shots = [_name(text) for text in texts]
    notes = name_unread(values, Arguments.model_fields)
    notes += describe_missing(characters, (environment, *shots))
    lengths, changed = _read_lengths(fields, len(shots))
    prompt = GlobalPrompt(characters, environment, story="")
    made = tuple(
        ShotPrompt(text, frames=frames) for text, frames in zip(shots, lengths, strict=True)
    )
    found = {ours: getattr(fields, key) for key, ours in _SETTINGS.items()}
    sampler = {key: value for key, value in found.items() if value is not None}
    return Imported(Script(prompt, made, sampler=sampler), (*notes, *changed))


def write_holocine(script: Script, name: str) -> Exported:
    """Returns a script as HoloCine's arguments, in NAME.json."""
    prompt = script.prompt or GlobalPrompt({}, "", "")
    numbers = {own: str(number) for number, own in enumerate(prompt.characters, start=1)}
    tag = lambda text: re.sub(
        r"\bCharacter (\w+)", lambda m: f"[character{numbers.get(m[1], m[1])}]", text
    )
    cast = [
        f"[character{numbers[own]}] is {end_sentence(f'{text[:1].lower()}{text[1:]}')}"
        for own, text in prompt.characters.items()
    ]
    count = f"This scene contains {len(script.shots)} shots."
    parts = [*cast, *(end_sentence(x) for x in (prompt.environment, prompt.story) if x), count]
    caption = " ".join(map(tag, parts))
    texts = " [shot cut] ".join(tag(shot.text) for shot in script.shots)
    values: dict[str, Any] = {
        "prompt": f"[global caption] {caption} [per shot caption] {texts}",
        **_write_lengths(script),
    }
    values |= {key: script.sampler[own] for key, own in _SETTINGS.items() if own in script.sampler}
    written = {f"sampler.{own}" for own in _SETTINGS.values()}
    # Frames are those of one video, so that they are written for all shots or for none.
    written |= {"frames"} if "num_frames" in values else set()
    notes = name_unwritten(script, written=written, layout="HoloCine")
    notes += [
        f"characters: Character {own} is [character{number}]"
        for own, number in numbers.items()
        if own != number
    ]
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    return Exported({f"{name}.json": text}, tuple(notes))


def _read_prompt(fields: Arguments) -> tuple[str, list[str]]:
    """Returns the global caption and the texts of the shots."""
    if fields.prompt is None:
        return fields.global_caption, check_texts(fields.shot_captions, "shot_captions")
    found = _PROMPT.search(fields.prompt)
    if found is None:
        expected = "[global caption] ... [per shot caption] ... [shot cut] ..."
        raise InputError(f"prompt: found {fields.prompt!r:.60}, expected {expected}")
    return found[1], check_texts(_CUT.split(found[2]), "prompt")


def _name(text: str) -> str:
    return " ".join(_CHARACTER.sub(r"Character \1", _COUNT.sub("", text)).split())


def _split_cast(caption: str) -> tuple[dict[str, str], str]:
    """Returns what a global caption says of each character, and the rest of it."""
    characters: dict[str, str] = {}
    rest: list[str] = []
    own: list[str] = []
    for sentence in filter(None, re.split(r"(?<=[.!?])\s+", caption)):
        new = [name for name in find_characters(sentence) if name not in characters]
        if new:
            own = new
            characters |= {name: _describe(name, sentence) for name in new}
        elif own and _PRONOUN.match(sentence):
            characters |= {name: f"{characters[name]} {sentence}" for name in own}
        else:
            own = []
            rest.append(sentence)
    return characters, " ".join(rest)


def _describe(name: str, sentence: str) -> str:
    """Returns a sentence as a description: without "Character 1 is" at its start."""
    bare = re.sub(rf"^Character {name}(?:,| is| are)\s+", "", sentence)
    return f"{bare[:1].upper()}{bare[1:]}"


def _read_lengths(fields: Arguments, count: int) -> tuple[Sequence[int | None], Sequence[str]]:
    """Returns the frames of every shot, None where nothing says so, and notes about lengths that had to change."""
    cuts, frames = fields.shot_cut_frames, fields.num_frames
    if frames is None:
        return [None] * count, ["shot_cut_frames: means nothing without num_frames"] * bool(cuts)
    if cuts is None:
        cuts = [nearest_frames(frames * number / count) for number in range(1, count)]
    edges = [0, *cuts, frames]
    lengths = [end - start for start, end in itertools.pairwise(edges)]
    if len(lengths) != count or min(lengths) < 1:
        raise InputError(
            f"shot_cut_frames: found {cuts} for {count} shots of {frames} frames, expected {count - 1} that rise"
        )
    return fit_lengths("shot_cut_frames", lengths)


def _write_lengths(script: Script) -> dict[str, Any]:
    """Returns the frames at which the video cuts and ends, if every shot has a length.

    All shots are encoded as one video there, so that each but the first has 4n frames and not 4n + 1.
    """
    lengths = [shot.frames for shot in script.shots]
    if None in lengths:
        return {}
    *cuts, end = itertools.accumulate(length - 1 for length in lengths)
    return {"num_frames": 1 + end, "shot_cut_frames": [1 + cut for cut in cuts]}
