"""The script of a held-out scene of the footage that a network is tuned on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lct_jax.data.scene_file import SCENE_FORMAT, load_scene_file
from lct_jax.directing.script import SCRIPT_FORMAT, Script
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically


def write_held_out(path: Path, scene_files: list[Path], *, shots: int) -> bool:
    """Writes the script of the first held-out scene in scene files, or of the first scene where none is held out.

    Args:
        path: of the script. shots: the most that it has.

    Returns:
        Whether the scene is held out.

    Raises:
        InputError: there is no scene, or a file cannot be read or written.
    """
    scenes = [scene for file in scene_files for scene in load_scene_file(file).scenes]
    if not scenes:
        raise InputError(f"{path}: no scene in the footage, expected one to make a script of")
    held_out = [scene for scene in scenes if scene.split != "train"]
    plain = _to_plain((held_out or scenes)[0].script, shots=shots)
    with replace_atomically(path) as unfinished:
        unfinished.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return bool(held_out)


def find_scene_files(prepared: Path) -> list[Path]:
    """Returns the scene files that preparation has written for a folder of videos."""
    paths = sorted(prepared.glob("work/*/scenes-*.json"))
    return [p for p in paths if json.loads(p.read_text("utf-8")).get("format") == SCENE_FORMAT]


def _to_plain(script: Script, *, shots: int) -> dict[str, Any]:
    """Returns the first shots of a script as the object of a script file."""
    prompt = script.prompt
    shared = {} if prompt is None else vars(prompt)
    first = [{"prompt": shot.text, "cut": shot.cut} for shot in script.shots[:shots]]
    return {"format": SCRIPT_FORMAT, **shared, "shots": first}
