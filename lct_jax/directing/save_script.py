"""Scripts as files: the plain values of a script, and the file that `lct_jax.directing.script.load_script` reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lct_jax.directing.field_reader import YAML_SUFFIXES
from lct_jax.directing.prompts import Condition, ShotPrompt
from lct_jax.directing.script import SCRIPT_FORMAT, CastPicture, Script
from lct_jax.directing.yaml_text import write_yaml
from lct_jax.files import replace_atomically


def to_plain(script: Script, *, folder: Path) -> dict[str, Any]:
    """Returns a script as the object that stands in a file in `folder`; what has its default is left out."""
    characters: dict[str, Any] = {} if script.prompt is None else dict(script.prompt.characters)
    places: dict[str, Any] = {}
    used = {shot.place for shot in script.shots}
    for picture in script.pictures:
        if picture.place and picture.place not in used:
            continue  # a file names no place where no shot plays
        images = _add_picture(picture, characters, places)
        images.append(_plain_condition(picture.condition, folder) | {"prompt": picture.text})
    prompt = script.prompt
    plain = {
        "format": SCRIPT_FORMAT,
        "characters": characters,
        "places": places,
        "environment": "" if prompt is None else prompt.environment,
        "story": "" if prompt is None else prompt.story,
        "sampler": dict(script.sampler),
        "shots": [_plain_shot(shot, folder) for shot in script.shots],
    }
    return {key: value for key, value in plain.items() if value not in ("", {})}


def save_script(path: str | Path, script: Script) -> None:
    """Writes a script as YAML if the name ends in .yaml or .yml, else as JSON; raises InputError where it cannot."""
    path = Path(path)
    plain = to_plain(script, folder=path.parent)
    if path.suffix.lower() in YAML_SUFFIXES:
        text = write_yaml(plain)
    else:
        text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
    with replace_atomically(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _add_picture(
    picture: CastPicture, characters: dict[str, Any], places: dict[str, Any]
) -> list[Any]:
    """Returns the list of images to which a picture belongs; a character becomes an object for it."""
    if picture.place:
        return places.setdefault(picture.place, {"images": []})["images"]
    who = characters[picture.character]
    if isinstance(who, str):
        who = characters[picture.character] = {"text": who, "images": []}
    return who["images"]


def _plain_shot(shot: ShotPrompt, folder: Path) -> dict[str, Any]:
    height, width = shot.size or (None, None)
    own = {
        "prompt": shot.text,
        "alone": shot.alone or None,
        "cut": shot.cut,
        "frames": shot.frames,
        "seconds": shot.seconds,
        "aspect": shot.aspect or None,
        "height": height,
        "width": width,
        "overlap": shot.overlap or None,
        "negative": shot.negative,
        "seed": shot.seed,
        "key": shot.key or None,
        "shown": shot.shown if not shot.shown else None,
        "place": shot.place or None,
        "refers": list(shot.refers) or None,
        "history": None if shot.history is None else list(shot.history),
    }
    edges = {name: getattr(shot, name) for name in ("given", "first", "last")}
    own |= {n: _plain_condition(edge, folder) for n, edge in edges.items() if edge is not None}
    return {key: value for key, value in own.items() if value is not None}


def _plain_condition(condition: Condition, folder: Path) -> dict[str, Any]:
    values = {
        "file": os.path.relpath(condition.file, folder),
        "time": condition.time,
        "frames": condition.frames,
        "tensor": condition.tensor or None,
    }
    return {key: value for key, value in values.items() if value is not None}
