"""The script of a held-out scene of the footage that a network is tuned on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from lct_jax.data.scene_file import SCENE_FORMAT, load_scene_file
from lct_jax.directing.save_script import save_script
from lct_jax.errors import InputError


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
    script = (held_out or scenes)[0].script
    save_script(path, dataclasses.replace(script, shots=script.shots[:shots]))
    return bool(held_out)


def find_scene_files(prepared: Path) -> list[Path]:
    """Returns the scene files that preparation has written for a folder of videos."""
    paths = sorted(prepared.glob("work/*/scenes-*.json"))
    return [p for p in paths if json.loads(p.read_text("utf-8")).get("format") == SCENE_FORMAT]
