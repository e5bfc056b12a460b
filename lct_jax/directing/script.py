"""Scripts: what a director writes of one scene, a global prompt and shots in order, read from a JSON or a YAML file.

A script is the one input of sampling that is typed by hand, so a typo must cost one line on the screen and not a scene
without its main character. The file's objects are the classes of `script_fields.py`; `Script` is what the rest of the
project works with. `save_script.py` writes the files.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lct_jax.directing.condition_files import make_condition
from lct_jax.directing.field_reader import Source, Step, open_source, show
from lct_jax.directing.links import check_refers
from lct_jax.directing.prompts import (
    Condition,
    GlobalPrompt,
    ShotPrompt,
    check_mentions,
    find_characters,
    make_global,
)
from lct_jax.directing.script_fields import (
    CharacterFields,
    ScriptFields,
    ShotFields,
)

SCRIPT_FORMAT = "lct_jax.script/2"
# A larger file, such as one of weights, is no script.
MOST_BYTES = 16_000_000

# The prompt of a picture of a character that has none of its own.
CLOSE_UP = "A close-up of Character {}."

# What a shot with `given` cannot have, since it is what its file is.
_OF_GENERATED = (
    "frames",
    "seconds",
    "first",
    "last",
    "overlap",
    "aspect",
    "height",
    "width",
)


@dataclass(frozen=True)
class CastPicture:
    """A picture of a character or a place, which becomes a given shot of one frame.

    Attributes:
      condition: the picture.
      text: the prompt of that shot.
      character: the ID of the character; empty for a place.
      place: the name of the place; empty for a character.
      path: where it stands in its script, for messages.
    """

    condition: Condition
    text: str
    character: str = ""
    place: str = ""
    path: tuple[Step, ...] = field(default=(), compare=False)

    @property
    def owner(self) -> str:
        """The character or place."""
        return self.character or self.place

    def as_shot(self) -> ShotPrompt:
        """Returns the given shot that it becomes."""
        return ShotPrompt(self.text, given=self.condition, frames=1, shown=False, place=self.place)


@dataclass(frozen=True)
class Script:
    """Describes one scene.

    Attributes:
      prompt: the global prompt; None if there is none.
      shots: the shots in order.
      pictures: pictures of characters and places.
      sampler: the settings of sampling that the script sets: "mode" and fields of `SamplingConfig`.
      apart: whether every shot is a scene of its own, so that there is no global prompt, not even an empty one.
      added: how many of the last shots were not written but are pictures that a mode adds.
      source: where it was read, for messages about it.
    """

    prompt: GlobalPrompt | None
    shots: tuple[ShotPrompt, ...]
    pictures: tuple[CastPicture, ...] = ()
    sampler: Mapping[str, Any] = field(default_factory=dict)
    apart: bool = False
    added: int = 0
    source: Source = field(default=Source("script"), compare=False, repr=False)

    def list_shots(self) -> tuple[ShotPrompt, ...]:
        """Returns all shots that sampling works with: those of the script, then the pictures that any of them names."""
        return (*self.shots, *(picture.as_shot() for picture in self.list_pictures()))

    def list_pictures(self) -> list[CastPicture]:
        """Returns the pictures of characters and places that a shot names."""
        named: set[str] = set()
        for shot in self.shots:
            named |= {*find_characters(shot.text), shot.place}
            named |= {item for item in shot.refers if isinstance(item, str)}
        return [picture for picture in self.pictures if picture.owner in named]

    def picture_of(self, number: int) -> str:
        """Returns the character or place of which shot `number` of `list_shots` is a picture; "" for a shot."""
        own = len(self.shots)
        if number < own:
            return self.shots[number].picture_of
        return self.list_pictures()[number - own].owner

    @contextmanager
    def at(self, number: int, *names: Step) -> Iterator[None]:
        """Names the script and a field of shot `number` of `list_shots` in every `InputError` that the block raises."""
        own = len(self.shots)
        path = ("shots", number) if number < own else self.list_pictures()[number - own].path
        if own - self.added <= number < own:
            path, names = (f"the picture of {show(self.shots[number].text)}",), ()
        with self.source.at(*path, *names):
            yield


def load_script(path: str | Path) -> Script:
    """Returns a script that was read from a file and checked.

    The file is YAML if its name ends in .yaml or .yml, else JSON, in the format "lct_jax.script/2" of
    docs/schemas/script.schema.json, or in the former one. Paths in it are relative to it. A shot may refer to shots
    before it and to given ones.

    Raises:
      InputError: the script is not valid; the message names the file, the line and the field, such as
          `shots[2].prompt`.
    """
    return read_script(open_source(path, most=MOST_BYTES), folder=Path(path).parent)


def read_script(source: Source, *, folder: Path) -> Script:
    """Returns the script that a source holds; its paths are relative to `folder`. Errors are those of `load_script`."""
    fields = source.parse(ScriptFields)
    described = {
        name: who.text if isinstance(who, CharacterFields) else who
        for name, who in fields.characters.items()
    }
    for name, who in fields.characters.items():
        place = (name, "text") if isinstance(who, CharacterFields) else (name,)
        with source.at("characters", *place):
            check_mentions(described[name], described)
    prompt = make_global(
        source, characters=described, environment=fields.environment, story=fields.story
    )
    shots = tuple(
        _make_shot(source, number, shot, characters=described, folder=folder)
        for number, shot in enumerate(fields.shots)
    )
    for number, (before, shot) in enumerate(itertools.pairwise(shots), start=1):
        joined = "overlap" if shot.overlap else "cut" if not shot.cut else ""
        if joined and shot.key and not (before.key or before.given):
            complaint = "found in a key shot, expected the shot before to be a key shot too"
            source.refuse(("shots", number, joined), complaint)
    pictures = _read_pictures(source, fields, characters=described, folder=folder)
    check_refers(source, shots, characters=described, places=fields.places)
    sampler = fields.sampler.model_dump(exclude_none=True)
    return Script(prompt, shots, pictures, sampler, source=source)


def give_shots(script: Script, given: Mapping[int, Condition]) -> Script:
    """Returns a script in which shots, by number from 0, are given in place of sampled."""
    names = (
        "text",
        "alone",
        "cut",
        "negative",
        "seed",
        "key",
        "shown",
        "place",
        "refers",
        "history",
    )
    shots = list(script.shots)
    for place, condition in given.items():
        own = {name: getattr(shots[place], name) for name in names}
        shots[place] = ShotPrompt(**own, given=condition)
    return replace(script, shots=tuple(shots))


def _make_shot(
    source: Source, number: int, fields: ShotFields, *, characters: Collection[str], folder: Path
) -> ShotPrompt:
    at = ("shots", number)
    with source.at(*at, "prompt"):
        check_mentions(fields.prompt, characters)
    _check_together(source, at, fields, number)
    size = None if fields.height is None else (fields.height, fields.width)
    edge = {
        name: make_condition(source, (*at, name), getattr(fields, name), folder=folder)
        for name in ("given", "first", "last")
    }
    return ShotPrompt(
        text=fields.prompt,
        cut=fields.cut,
        **edge,
        overlap=fields.overlap or 0,
        frames=fields.frames,
        seconds=fields.seconds,
        aspect=fields.aspect or "",
        size=size,
        negative=fields.negative,
        seed=fields.seed,
        key=fields.key,
        shown=fields.shown,
        place=fields.place.strip(),
        refers=tuple(fields.refers),
        history=None if fields.history is None else tuple(fields.history),
        alone=fields.alone or "",
    )


def _check_together(source: Source, at: tuple, fields: ShotFields, number: int) -> None:
    """Raises InputError for fields of a shot that do not go together."""
    found = lambda name: getattr(fields, name) is not None
    refuse = lambda name, complaint: source.refuse((*at, name), complaint)
    for name in _OF_GENERATED:
        if found("given") and found(name):
            refuse(name, "found beside 'given', whose picture or video has its own")
    if found("frames") and found("seconds"):
        refuse("seconds", "found beside 'frames', expected one of the two")
    for name, other in (("height", "width"), ("width", "height")):
        if found(name) and not found(other):
            refuse(name, f"found without {other!r}, expected both or none")
    if found("aspect") and found("height"):
        refuse("aspect", "found beside 'height' and 'width', expected one or the other")
    pictured = next((name for name in ("first", "last", "overlap") if found(name)), None)
    for name in ("aspect", "height"):
        if pictured and found(name):
            refuse(name, f"found beside {pictured!r}, whose pictures have a size of their own")
    if found("overlap"):
        if found("first"):
            refuse("overlap", "found beside 'first', expected one of the two")
        if number == 0:
            refuse("overlap", "found in the first shot, expected a shot before it")
        if fields.cut:
            refuse("overlap", "found where the shot starts with a cut, expected 'cut' false")


def _read_pictures(
    source: Source, fields: ScriptFields, *, characters: Collection[str], folder: Path
) -> tuple[CastPicture, ...]:
    """Returns the pictures of characters, then those of places."""
    used = {shot.place.strip() for shot in fields.shots}
    for name in fields.places:
        if name not in used:
            source.refuse(("places", name), "no shot has this 'place'")
    groups = [("characters", n, who, CLOSE_UP.format(n)) for n, who in fields.characters.items()]
    groups += [("places", n, place, f"A wide shot of {n}.") for n, place in fields.places.items()]
    made = []
    for part, name, owner, text in groups:
        for number, picture in enumerate([] if isinstance(owner, str) else owner.images):
            at = (part, name, "images", number)
            own = None if isinstance(picture, str) else picture.prompt
            if own is not None:
                with source.at(*at, "prompt"):
                    check_mentions(own, characters)
            condition = make_condition(source, at, picture, folder=folder)
            whose = {"character" if part == "characters" else "place": name}
            made.append(CastPicture(condition, own or text, path=at, **whose))
    return tuple(made)
