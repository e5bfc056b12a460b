"""Asks a language model for a script as a film director writes it, and checks what it answers.

The model is told what the LCT paper tells its director (supplement, Table 1), in our own words: a global part with
characters, environment and story, a text for each shot, characters named by ID alone and nobody by a pronoun, and the
number of shots. Images may be shown, too: as in the paper's compositional generation, the model describes them for the
global part, and they become given shots before those that are to be generated (supplement, section C).

The functions here take an idea and return a `Script`. `lct_jax.chat` reaches the model and asks it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from lct_jax.chat import AGAIN, Chat, Message, Piece, parse_json, show_image
from lct_jax.chat.read_json import drop_reasoning
from lct_jax.chat.reply import Reply
from lct_jax.directing.field_reader import Fields, Source
from lct_jax.directing.prompts import (
    Characters,
    Condition,
    GlobalPrompt,
    Prompt,
    ShotPrompt,
    Text,
    check_mentions,
    clean_texts,
    find_characters,
    make_described,
)
from lct_jax.directing.prose import read_prose
from lct_jax.directing.remarks import find_pronouns
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

INSTRUCTION = """\
You write the shooting script of one scene of a film. A video model will make every shot of it and knows nothing but
your words. Reply with one JSON object and nothing else:
{"characters": {"1": "...", "2": "..."}, "environment": "...", "story": "...",
 "shots": [{"place": "...", "prompt": "..."}, {"place": "...", "prompt": "..."}]}
- characters: everybody who acts, under the numbers "1", "2", ...: age, build, face, hair, and each piece of clothing
  with its colour, in 20 to 40 words. Nobody has a name, and nobody changes clothes.
- environment: where and when the scene plays, what stands there, light, colours and mood, in at most 60 words.
- story: what happens from the first shot to the last, in at most 70 words.
- shots: exactly as many as you are asked for, in order, 20 to 50 words each. First how the shot is framed and how the
  camera moves, then who is seen and the one thing that happens in it: a shot lasts a few seconds.
- place: two or three words for the corner of the environment in which a shot plays, the same words for the same corner.
- In story and shots, write "Character 1" and so on wherever one of the characters is meant, every time anew. Write no
  names, no pronouns such as "he", "her" or "they", and no "both" or "the couple": each shot is read by itself.
- Write what can be seen. Leave out what is absent, what is only heard or thought, written words that would have to be
  readable, cuts, transitions, and any text in square brackets.
- Begin with a shot that shows the place, and change framing from shot to shot as a film does.
One of the shots of another scene, as an example:
{"place": "potting bench", "prompt": "Medium close-up from across the bench, slowly moving in: Character 2 presses a
seedling into dark soil, then looks up as Character 1 sets down a dripping watering can."}"""

ABOUT_IMAGES = """\
- You are also shown images, which the video model is given as well. Describe the people and the places in them, in
  detail, under characters and environment, and let the scene play with these people in these places.
- Add "images": ["...", "..."] to the object: one text an image, in the order shown, of at most 20 words: how it is
  framed, and which character or which part of the environment it shows."""


# Models write the number of a shot or of a character beside its text, under keys of their own.
_NUMBER = re.compile(r"(?:shot|character)?\s*\d+", re.IGNORECASE)


def _name_by_number(value: Any) -> Any:
    """Returns descriptions by the bare IDs of characters, where a model wrote a list, objects, or "Character 1"."""
    if isinstance(value, list):
        numbered = enumerate(value, start=1)
        value = {x.get("id", n) if isinstance(x, dict) else n: x for n, x in numbered}
    if not isinstance(value, dict):
        return value
    return {
        str(name).removeprefix("Character ").strip(): _take_description(x)
        for name, x in value.items()
    }


def _take_description(value: Any) -> Any:
    """Returns the one text of an object, apart from its number."""
    rest = _drop_numbers(value)
    return next(iter(rest.values())) if isinstance(rest, dict) and len(rest) == 1 else rest


def _drop_numbers(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: x for key, x in value.items() if not _NUMBER.fullmatch(str(x))}


def _list_by_number(value: Any) -> Any:
    """Returns shots as a list, where a model wrote an object with the keys "1", "2" and on, or "Shot 1"."""
    keys = [str(n) for n in range(1, len(value) + 1)] if isinstance(value, dict) else []
    bare = [str(key).lower().removeprefix("shot").strip(" _") for key in value] if keys else []
    return list(value.values()) if keys and bare == keys else value


def _unwrap(answer: Any) -> Any:
    """Returns the object that stands alone under one key of another."""
    inner = next(iter(answer.values())) if isinstance(answer, dict) and len(answer) == 1 else None
    return inner if isinstance(inner, dict) else answer


class AnswerShot(Fields):
    """A shot in the answer of a model."""

    prompt: Prompt
    place: Text = ""


def _take_shot(value: Any) -> Any:
    return {"prompt": value} if isinstance(value, str) else _drop_numbers(value)


class AnswerFields(Fields):
    """The answer of a model that was asked for a script."""

    characters: Annotated[Characters, BeforeValidator(_name_by_number)] = Field(
        default_factory=dict
    )
    environment: Text
    story: Text = ""
    shots: Annotated[
        list[Annotated[AnswerShot, BeforeValidator(_take_shot)]], BeforeValidator(_list_by_number)
    ]
    images: list[Prompt] = Field(default_factory=list)


CheckLength = Callable[[GlobalPrompt | None, Sequence[str]], None]


def write_script(
    chat: Chat,
    idea: str,
    *,
    shots: int,
    images: Mapping[str, np.ndarray] | None = None,
    check_length: CheckLength | None = None,
    on_answer: Callable[[str], None] = lambda _: None,
    on_piece: Callable[[Piece], None] | None = None,
) -> Script:
    """Returns the script that a language model writes of an idea.

    What breaks a rule is asked for again with the complaint. In the last answer, people may be named by pronouns.

    Args:
        chat: the client; without a cache, so that the same idea may become another script the next time.
        idea, shots: see `ask_for_script`.
        images: pictures that the scene is to agree with, uint8 RGB [X, Y, 3], by their paths.
        check_length: see `check_answer`.
        on_answer: is called with the text of every answer.
        on_piece: is called with each piece of an answer as it grows.

    Raises:
        ChatError: the endpoint gives no answer, or none that can be used.
    """
    images = images or {}
    answers = 0

    def read(reply: Reply) -> Any:
        nonlocal answers
        answers += 1
        on_answer(reply.text)
        return read_answer(reply)

    def check(answer: Any) -> Script:
        return check_answer(
            answer,
            shots=shots,
            images=tuple(images),
            check_length=check_length,
            lenient=answers > AGAIN,
        )

    messages = ask_for_script(idea, shots=shots, images=tuple(images.values()))
    return chat.ask(messages, check, read=read, on_piece=on_piece)


def ask_for_script(idea: str, *, shots: int, images: Sequence[np.ndarray] = ()) -> list[Message]:
    """Returns the messages that ask for a script.

    Args:
        idea: what the scene is about, in any language. shots: the number of shots to write.
        images: pictures that the scene is to agree with, uint8 RGB [X, Y, 3].
    """
    wanted = f"Write the script of a scene of exactly {shots} shots, in English. The idea: {idea}"
    content: list[Message] = [{"type": "text", "text": wanted}]
    for number, image in enumerate(images, start=1):
        content += [{"type": "text", "text": f"Image {number} of {len(images)}:"}]
        content += [show_image(image)]
    instruction = f"{INSTRUCTION}\n{ABOUT_IMAGES}" if images else INSTRUCTION
    return [
        {"role": "system", "content": instruction},
        {"role": "user", "content": content if images else wanted},
    ]


def read_answer(reply: Reply) -> Any:
    """Returns the script in an answer, as the object that was asked for: from JSON, or from prose under headings.

    Raises:
        InputError: it holds neither, or it is prose that was cut off, whose last shot may be half a shot.
    """
    try:
        return parse_json(reply.text)
    except InputError:
        if reply.cut_off or '"shots"' in reply.text:
            raise
    return read_prose(drop_reasoning(reply.text))


def check_answer(
    answer: Any,
    *,
    shots: int,
    images: Sequence[str] = (),
    check_length: CheckLength | None = None,
    lenient: bool = False,
) -> Script:
    """Returns the script in an answer.

    Args:
        answer: what `read_answer` returns. shots: the number of shots that was asked for.
        images: the paths of the images that were shown. They become given shots before the others.
        check_length: raises InputError for a global prompt, or the texts of shots, that are too long for a model.
        lenient: takes a script that names people by pronouns, which a reader can still repair.

    Raises:
        InputError: the answer breaks a rule, in words that the model can follow.
    """
    source = Source("answer")
    fields = source.check(AnswerFields, clean_texts(_unwrap(answer)))
    for name, found, wanted in (("shots", fields.shots, shots), ("images", fields.images, images)):
        wanted = wanted if isinstance(wanted, int) else len(wanted)
        if len(found) != wanted:
            source.refuse((name,), f"found {len(found)} texts, expected exactly {wanted}")
    characters = fields.characters
    prompt = make_described(
        source, characters=characters, environment=fields.environment, story=fields.story
    )
    texts = [("images", number, text) for number, text in enumerate(fields.images)]
    texts += [("shots", number, shot.prompt) for number, shot in enumerate(fields.shots)]
    for name, number, text in texts:
        with source.at(name, number):
            check_mentions(text, characters)
            if not lenient:
                _check_names(text)
    if check_length is not None:
        check_length(prompt, [shot.prompt for shot in fields.shots])
    unused = characters.keys() - {id for _, _, text in texts for id in find_characters(text)}
    if unused and not lenient:
        listed = ", ".join(f"Character {name}" for name in characters if name in unused)
        source.refuse(("characters",), f"describes {listed}, whom no shot names")
    given = [
        ShotPrompt(text, given=Condition(path))
        for text, path in zip(fields.images, images, strict=True)
    ]
    made = [ShotPrompt(shot.prompt, place=shot.place.strip()) for shot in fields.shots]
    return Script(prompt=prompt, shots=(*given, *made))


def _check_names(text: str) -> None:
    """Raises InputError where a text names somebody by a pronoun."""
    if found := find_pronouns(text):
        raise InputError(f"names somebody as {found[0]!r}, expected 'Character ID' every time")
