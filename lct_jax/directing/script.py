"""Reads a scene from a JSON script: a global prompt and shots, checked, and the text for the text encoder.

The checks live here because a script is the one input of sampling that is typed by hand: a typo should cost one line on
the screen, not a scene without its main character. Annotated footage (`lct_jax.data.scene_file`) is read with the same
`Field` and the same checks.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from lct_jax.errors import InputError

SCRIPT_FORMAT = "lct_jax.script/1"
SHOT_CUT_TAG = "[SHOT CUT]"

_CHARACTER = re.compile(r"\bCharacter (\w+)")
_HANDWRITTEN_TAG = re.compile(r"\[\s*shot[\s_-]*cut\s*\]", re.IGNORECASE)
_KINDS = {
    dict: "an object {...}",
    list: "a list [...]",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class GlobalPrompt:
    """Holds what every shot of a scene shares.

    Attributes:
      characters: the description of each character, by the ID the prompts use ("1" for "Character 1").
      environment: where and when the scene plays.
      story: what happens over the whole scene.
    """

    characters: dict[str, str]
    environment: str
    story: str


@dataclass(frozen=True)
class ShotPrompt:
    """Describes one shot.

    Attributes:
      text: the prompt, without any tag.
      cut: True when the shot starts with a cut, False when it continues the shot before it.
      given: the path of an image or video used in place of a generated shot; empty to generate it.
      frames: the length in frames, 4n+1; None leaves it to the sampler.
      place: the name of its place; empty if the script gives none.
      refers: what it should agree with: shots by number (from 1), characters by ID, places by name.
    """

    text: str
    cut: bool = True
    given: str = ""
    frames: int | None = None
    place: str = ""
    refers: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class Script:
    """Describes one scene: the global prompt (None if there is none) and its shots in order."""

    prompt: GlobalPrompt | None
    shots: tuple[ShotPrompt, ...]


def render_global(prompt: GlobalPrompt, story: bool = True) -> str:
    """Returns the text of the global group: characters, environment, story; empty parts are left out.

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


def load_script(path: str | Path) -> Script:
    """Reads and checks a script.

    The file is `{"format": "lct_jax.script/1", "characters": {"1": "..."}, "environment": "...",
    "story": "...", "shots": [{"prompt": "...", "cut": true, "frames": 17, "given": "x.png",
    "place": "quay", "refers": [1, "quay"]}]}`, of which `format`, `shots` and each `prompt` are
    required. `given` is relative to the script. A shot may refer to shots before it and to given ones.

    Raises:
      InputError: the script is not valid; the message names the file and the field, such as `shots[2].prompt`.
    """
    top = read_json(path, SCRIPT_FORMAT, ("shots",), ("characters", "environment", "story"))
    characters = read_characters(top["characters"]) if "characters" in top else {}
    prompt = read_global(top, characters)
    shots = tuple(
        _read_shot(field, characters, Path(path).parent) for field in top["shots"].items()
    )
    if not shots:
        top["shots"].refuse("is empty, expected at least one shot")
    for number, field in enumerate(top["shots"].items(), start=1):
        _check_refers(field.members().get("refers"), number, shots, characters)
    return Script(prompt=prompt, shots=shots)


@dataclass(frozen=True)
class Field:
    """Is a JSON value with the file and the path it was read from, so that a complaint names both."""

    file: str
    path: str
    value: object

    def refuse(self, complaint: str) -> NoReturn:
        """Raises the `InputError` of this field."""
        raise InputError(f"{self.file}: {self.path or 'top level'}: {complaint}")

    def of(self, kind: type[Kind]) -> Kind:
        """Returns the value, if it is of exactly this kind (so `true` is not a number)."""
        if type(self.value) is not kind:
            self.refuse(f"found {_describe(self.value)}, expected {_KINDS[kind]}")
        return self.value

    def members(self) -> dict[str, Field]:
        """Returns the fields of an object, whatever their names."""
        prefix = f"{self.path}." if self.path else ""
        return {key: Field(self.file, prefix + key, value) for key, value in self.of(dict).items()}

    def keys(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Field]:
        """Returns the fields of an object whose keys are known; missing optional ones are left out."""
        members = self.members()
        known = (*required, *optional)
        for key in members:
            if key not in known:
                self.refuse(f"unknown key {key!r}, {suggest(key, known)}")
        for key in required:
            if key not in members:
                self.refuse(f"key {key!r} is missing")
        return members

    def items(self) -> tuple[Field, ...]:
        """Returns the fields of a list."""
        values = enumerate(self.of(list))
        return tuple(Field(self.file, f"{self.path}[{i}]", value) for i, value in values)


def suggest(name: str, known: Collection[str]) -> str:
    """Returns a suggestion in place of an unknown name: the most similar one, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(known)}"


def read_json(
    path: str | Path, expected_format: str, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Field]:
    """Returns the top-level fields of a JSON file whose "format" must be the expected one."""
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(file, pairs))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{file}: not JSON at {place}: {error.msg}") from None
    top = Field(file, "", value)
    members = top.members()
    # The format is checked first: a file of another format would otherwise only be blamed for its keys.
    if "format" not in members:
        top.refuse(f"key 'format' is missing, expected {expected_format!r}")
    if members["format"].value != expected_format:
        found = _describe(members["format"].value)
        members["format"].refuse(f"found {found}, expected {expected_format!r}")
    return top.keys(("format", *required), optional)


def read_characters(field: Field) -> dict[str, str]:
    """Returns descriptions by ID; the IDs must be such that a prompt can mention them."""
    described = field.members()
    for name in described:
        if not re.fullmatch(r"\w+", name):
            field.refuse(f"ID {name!r} is not made of letters, digits and _ alone")
    return {name: read_prompt(text, described) for name, text in described.items()}


def read_global(fields: dict[str, Field], characters: dict[str, str]) -> GlobalPrompt | None:
    """Returns the global prompt of an object with `environment` and `story`; None if it is empty."""
    environment, story = (
        read_prompt(fields[key], characters, empty_allowed=True) if key in fields else ""
        for key in ("environment", "story")
    )
    if not (characters or environment or story):
        return None
    return GlobalPrompt(characters=characters, environment=environment, story=story)


def read_prompt(field: Field, described: Collection[str], empty_allowed: bool = False) -> str:
    """Returns a text for the text encoder: it is not empty, has no tag in it, and mentions described IDs alone."""
    text = field.of(str).strip()
    if not text and not empty_allowed:
        field.refuse("is empty")
    if tag := _HANDWRITTEN_TAG.search(text):
        field.refuse(f'found the tag {tag[0]!r}, expected the shot\'s "cut": true or false instead')
    for name in find_characters(text):
        if name not in described:
            listed = ", ".join(described) or "none"
            field.refuse(f"mentions 'Character {name}', who is not described (described: {listed})")
    return text


def _read_shot(field: Field, characters: Collection[str], folder: Path) -> ShotPrompt:
    fields = field.keys(("prompt",), ("cut", "frames", "given", "place", "refers"))
    if "frames" in fields and "given" in fields:
        fields["frames"].refuse("found beside 'given', whose picture or video has its own length")
    return ShotPrompt(
        text=read_prompt(fields["prompt"], characters),
        cut=fields["cut"].of(bool) if "cut" in fields else True,
        given=_read_given(fields["given"], folder) if "given" in fields else "",
        frames=_read_frames(fields["frames"]) if "frames" in fields else None,
        place=fields["place"].of(str).strip() if "place" in fields else "",
        refers=tuple(f.value for f in fields["refers"].items()) if "refers" in fields else (),
    )


def _check_refers(
    field: Field | None, own: int, shots: Sequence[ShotPrompt], characters: Collection[str]
) -> None:
    names = sorted({*characters, *(shot.place for shot in shots if shot.place)})
    ready = [n for n, shot in enumerate(shots, start=1) if n != own and (n < own or shot.given)]
    for item in field.items() if field else ():
        if type(item.value) is not int:
            if item.of(str) not in names:
                item.refuse(f"found {item.value!r}, a character or place that no shot has")
        elif item.value not in ready:
            item.refuse(f"found {item.value}, expected an earlier or a given shot, counted from 1")


def _read_frames(field: Field) -> int:
    frames = field.of(int)
    below = (frames - 1) // 4 * 4 + 1
    if frames < 1:
        field.refuse(f"found {frames}, expected 4n+1 frames, at least 1")
    if frames != below:
        field.refuse(f"found {frames}, expected 4n+1 frames: {below} or {below + 4}")
    return frames


def _read_given(field: Field, folder: Path) -> str:
    name = field.of(str)
    if not name:
        field.refuse("is empty, leave the key out to generate the shot")
    path = folder / name
    if not path.is_file():
        field.refuse(f"no such file: {str(path)!r}")
    return str(path)


def _unique(file: str, pairs: list[tuple[str, object]]) -> dict[str, object]:
    # JSON itself keeps the last of two equal keys, and a character would be lost without an error.
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"{file}: key {twice!r} is written twice in one object")
    return members


def _describe(value: object) -> str:
    if isinstance(value, dict | list) or value is None:
        return _KINDS[type(value)]
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
