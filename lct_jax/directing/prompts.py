"""Prompts of a scene: the global one and one a shot, the rules for their texts, and how a text encoder reads them.

Scripts, scene files and captions hold texts of the same kinds, and check them here: characters are described once, all
other texts mention them by ID alone, and the tag of a cut is never written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from lct_jax.directing.field_reader import Source, Step
from lct_jax.errors import InputError

SHOT_CUT_TAG = "[SHOT CUT]"

_CHARACTER = re.compile(r"\bCharacter (\w+)")
# Control characters count as line breaks, because text encoders drop them as well.
_BREAK = re.compile(r"(?<!\s)\s*(?:[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029]\s*)+")
_BRACKETED = re.compile(r"\[\s*Character\s+(\w+)\s*\]|\bCharacter\s+\[\s*(\w+)\s*\]")
_HANDWRITTEN_TAG = re.compile(r"\[\s*shot[\s_-]*cut\s*\]", re.IGNORECASE)


@dataclass(frozen=True)
class GlobalPrompt:
    """What every shot of a scene shares.

    Attributes:
      characters: description of each character, by the ID the prompts use ("1" for "Character 1").
      environment: where and when the scene plays.
      story: what happens over the whole scene.
    """

    characters: dict[str, str]
    environment: str
    story: str


@dataclass(frozen=True)
class Condition:
    """A picture, a video or latents that sampling holds at a low time while it denoises the rest.

    Attributes:
      file: its path.
      time: the diffusion time at which it is held, from 0 (clean) to 1 (noise); None leaves it to the sampler.
      frames: how many of its frames are held at the start or the end of a shot; None takes those of a picture.
      tensor: which latents of a safetensors file; empty for those named after the shot, or the only ones.
    """

    file: str
    time: float | None = None
    frames: int | None = None
    tensor: str = ""


@dataclass(frozen=True)
class Begin:
    """The picture that a shot begins with: a panel of a sampled shot of one frame.

    Attributes:
      shot: the number of that shot, from 0.
      panel: which of its pictures, from 0 at the top. panels: how many stand in it, one above the other.
    """

    shot: int
    panel: int = 0
    panels: int = 1


@dataclass(frozen=True)
class ShotPrompt:
    """One shot.

    Attributes:
      text: the prompt, without any tag.
      cut: True when the shot starts with a cut, False when it goes on from the shot before it.
      given: what is used in place of a generated shot; None to generate it.
      first, last: what is held as the first and the last frames of the shot, while the others are generated.
      overlap: how many frames at the end of the shot before are held as the first frames of this one, 4n+1; 0 for none.
      frames: length in frames, 4n+1; None leaves it to `seconds`, or to the sampler.
      seconds: length in seconds.
      aspect: width to height as "16:9"; empty leaves it to `size`, to pictures, or to the sampler.
      size: height and width in pixels.
      negative: the negative prompt; None leaves it to the sampler.
      seed: the seed of the shot's noise; None takes that of the scene.
      key: whether the shot is sampled before those that are no key shots, so that they can see it.
      shown: False leaves the shot out of the film, as one that others are only to see.
      place: name of where it plays; empty if the script does not say.
      refers: what it should agree with: shots by number (from 1), characters by ID, places by name.
      history: the shots that it sees where shots are sampled one after another, by number (from 1), besides pictures of
          whom and what it names; None lets the sampler choose.
      alone: the prompt with which it is sampled apart from its scene; empty makes one of `text` and what all shots
          share.
      picture_of: the character or place of which it is a sampled picture; empty for a shot of the film.
      begins: the sampled picture that it begins with. panels: how many pictures stand in it, one above the other.
    """

    text: str
    cut: bool = True
    given: Condition | None = None
    first: Condition | None = None
    last: Condition | None = None
    overlap: int = 0
    frames: int | None = None
    seconds: float | None = None
    aspect: str = ""
    size: tuple[int, int] | None = None
    negative: str | None = None
    seed: int | None = None
    key: bool = False
    shown: bool = True
    place: str = ""
    refers: tuple[int | str, ...] = ()
    history: tuple[int, ...] | None = None
    alone: str = ""
    picture_of: str = ""
    begins: Begin | None = None
    panels: int = 1


def render_global(prompt: GlobalPrompt, story: bool = True) -> str:
    """Returns the text of the global group: characters, environment and story, without the parts that are empty.

    `story=False` leaves the story out, as training does at random (LCT supplement, data).
    """
    parts = [f"Character {name}: {text}" for name, text in prompt.characters.items()]
    if prompt.environment:
        parts.append(f"Environment: {prompt.environment}")
    if story and prompt.story:
        parts.append(f"Story: {prompt.story}")
    return " ".join(parts)


def render_shot(shot: ShotPrompt) -> str:
    """Returns the text of a shot's group: the prompt, after the tag of truly cut footage (LCT, data)."""
    return f"{SHOT_CUT_TAG} {shot.text}" if shot.cut else shot.text


def find_characters(text: str) -> tuple[str, ...]:
    """Returns the IDs that a text mentions as "Character <ID>", each once, in order of first mention."""
    return tuple(dict.fromkeys(_CHARACTER.findall(text)))


def check_text(text: str) -> str:
    """Returns a text for the text encoder: without the space around it, and with `[Character 1]` as `Character 1`.

    Raises:
      InputError: it holds the tag of a cut, or half of a surrogate pair, which no text encoder takes.
    """
    if tag := _HANDWRITTEN_TAG.search(text):
        raise InputError(
            f'found the tag {tag[0]!r}, expected the shot\'s "cut": true or false instead'
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise InputError(f"found {half!r}, half of a surrogate pair, expected Unicode") from None
    return _drop_brackets(text).strip()


def clean_texts(value: Any) -> Any:
    """Returns a JSON value as prompts are written in all texts of it.

    Every line break or control character is one space, and characters are named without brackets, as `Character 1`:
    models and people write `[Character 1]` and, as the LCT paper does, `Character [1]`.
    """
    if isinstance(value, str):
        return _drop_brackets(_BREAK.sub(" ", value)).strip()
    if isinstance(value, dict):
        return {key: clean_texts(inner) for key, inner in value.items()}
    return [clean_texts(inner) for inner in value] if isinstance(value, list) else value


def _drop_brackets(text: str) -> str:
    return _BRACKETED.sub(r"Character \1\2", text)


def check_not_empty(text: str) -> str:
    """Returns a text without the space around it; raises InputError where nothing is left."""
    if not text.strip():
        raise InputError("is empty")
    return text.strip()


def check_characters(characters: dict[str, str]) -> dict[str, str]:
    """Returns descriptions by ID; raises InputError for an ID that a prompt cannot mention."""
    for name in characters:
        if not re.fullmatch(r"\w+", name):
            raise InputError(f"ID {name!r} is not made of letters, digits and _ alone")
    return characters


NotEmpty = Annotated[
    str, AfterValidator(check_not_empty), Field(json_schema_extra={"pattern": r"\S"})
]
Text = Annotated[str, AfterValidator(check_text)]
Prompt = Annotated[NotEmpty, AfterValidator(check_text)]
Characters = Annotated[dict[str, Prompt], AfterValidator(check_characters)]


def check_mentions(text: str, described: Collection[str]) -> None:
    """Raises InputError where a text mentions a character who is not among those described."""
    for name in find_characters(text):
        if name not in described:
            listed = ", ".join(described) or "none"
            raise InputError(
                f"mentions 'Character {name}', who is not described (described: {listed})"
            )


def check_descriptions(source: Source, *path: Step, characters: Mapping[str, str]) -> None:
    """Raises InputError where one of the descriptions at `path` mentions somebody who is not described there."""
    for name, text in characters.items():
        with source.at(*path, name):
            check_mentions(text, characters)


def make_described(
    source: Source, *, characters: dict[str, str], environment: str, story: str
) -> GlobalPrompt | None:
    """Returns what `make_global` does, of an object whose descriptions are its own and are checked as well."""
    check_descriptions(source, "characters", characters=characters)
    return make_global(source, characters=characters, environment=environment, story=story)


def make_global(
    source: Source, *path: Step, characters: dict[str, str], environment: str, story: str
) -> GlobalPrompt | None:
    """Returns the global prompt of the object at `path`, or None if nothing is in it.

    Raises:
      InputError: the environment or the story mentions somebody who is not described.
    """
    for name, text in (("environment", environment), ("story", story)):
        with source.at(*path, name):
            check_mentions(text, characters)
    if not (characters or environment or story):
        return None
    return GlobalPrompt(characters=characters, environment=environment, story=story)
