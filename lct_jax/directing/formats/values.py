"""What readers and writers of other layouts share: their results, lengths of shots, and notes about fields."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import pydantic

from lct_jax.directing.field_reader import Source, show
from lct_jax.directing.prompts import ShotPrompt, find_characters
from lct_jax.directing.script import Script
from lct_jax.errors import InputError


class TheirFields(pydantic.BaseModel):
    """The base of objects in files of other projects: fields that are known are checked, others are left."""

    model_config = pydantic.ConfigDict(strict=True, extra="ignore", frozen=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}


Kind = TypeVar("Kind", bound=TheirFields)


class Imported(NamedTuple):
    """A script that was read from another layout, and what of it has no place in a script."""

    script: Script
    notes: tuple[str, ...]


class Exported(NamedTuple):
    """A script in another layout: the texts of files by name, and what of the script has no place in them."""

    files: Mapping[str, str]
    notes: tuple[str, ...]


def check_object(value: Any, where: str) -> dict[str, Any]:
    """Returns a JSON object; raises InputError for any other value."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {show(value)}, expected an object {{...}}")
    return value


def check_fields(kind: type[Kind], value: Any, where: str) -> Kind:
    """Returns a JSON object as the fields of `kind`; a null is read as a field that is not there.

    Raises:
        InputError: a field has another type; the message begins with `where` and the field.
    """
    return Source(where).check(kind, check_object(value, where))


def check_texts(value: Any, where: str) -> list[str]:
    """Returns a list of texts, without the space around them; raises InputError for any other value."""
    if not isinstance(value, list) or not all(isinstance(x, str) and x.strip() for x in value):
        raise InputError(f"{where}: found {value!r:.60}, expected a list of texts")
    return [" ".join(text.split()) for text in value]


def nearest_frames(frames: float) -> int:
    """Returns the number of frames 4n + 1 that is nearest to a number."""
    return max(4 * round((frames - 1) / 4), 0) + 1


def fit_lengths(field: str, lengths: Sequence[int]) -> tuple[list[int], list[str]]:
    """Returns lengths of shots as numbers 4n + 1, and the notes about those that had to change."""
    fitted = [nearest_frames(length) for length in lengths]
    if list(lengths) == fitted:
        return fitted, []
    shown = [", ".join(map(str, values)) for values in (lengths, fitted)]
    return fitted, [f"{field}: shots of {shown[0]} frames last {shown[1]}, which are 4n + 1 here"]


def describe_missing(characters: dict[str, str], texts: Iterable[str]) -> list[str]:
    """Describes, as "Somebody.", each character whom a text names and nothing describes; returns notes about these."""
    named = dict.fromkeys(itertools.chain(*map(find_characters, texts)))
    missing = [name for name in named if name not in characters]
    characters |= dict.fromkeys(missing, "Somebody.")
    return [f"Character {name}: is described nowhere" for name in missing]


def name_unread(
    values: Mapping[str | None, Any], known: Collection[str], where: str = ""
) -> list[str]:
    """Returns a note for each key of an object that is read by nobody.

    Under None, `csv` lists what a row has more than the table has columns.
    """
    return [
        f"{where}{'more columns than the table' if key is None else key}: has no place in a script"
        for key in values
        if key not in known
    ]


def name_unwritten(script: Script, *, written: Collection[str], layout: str) -> list[str]:
    """Returns a note for each field of a script that a layout has no place for.

    Args:
        script: the script.
        written: the fields of shots that the layout has, and keys of the sampler as "sampler.seed".
        layout: its name.
    """
    found: dict[str, list[int]] = {}
    for number, shot in enumerate(script.shots, start=1):
        for field in _find_set(shot, written):
            found.setdefault(field, []).append(number)
    notes = [f"{name}: of shots {', '.join(map(str, n))}" for name, n in found.items()]
    notes += [f"sampler.{key}" for key in script.sampler if f"sampler.{key}" not in written]
    notes += [f"pictures: {len(script.pictures)} of characters and places"] * bool(script.pictures)
    return [f"{note}: has no place in {layout}" for note in notes]


def _find_set(shot: ShotPrompt, written: Collection[str]) -> Iterator[str]:
    """Yields the fields of a shot that differ from their defaults and are not written."""
    for field in dataclasses.fields(shot):
        changed = field.name != "text" and getattr(shot, field.name) != field.default
        if changed and field.name not in written:
            yield field.name


def describe_cast(script: Script, text: str) -> list[str]:
    """Returns "Character ID: description" for each character whom a text names."""
    cast = {} if script.prompt is None else script.prompt.characters
    return [f"Character {name}: {cast[name]}" for name in find_characters(text) if name in cast]


def end_sentence(text: str) -> str:
    """Returns a text with a full stop, where it has no sign at its end."""
    return text if text.endswith((".", "!", "?", "。", "！", "？")) else f"{text}."
