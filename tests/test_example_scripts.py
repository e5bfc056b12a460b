"""Every script in examples/scripts loads, is written anew as it was read, and asks for little that models do badly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lct_jax
from lct_jax.directing.prompts import find_characters
from lct_jax.directing.remarks import review_script
from lct_jax.directing.save_script import save_script
from lct_jax.directing.script import Script, load_script

FOLDER = Path(__file__).parents[1] / "examples/scripts"
SCRIPTS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".json", ".yaml"))
# The words of the puppets and of the film are those that their models know, whatever other models make of them.
KNOWN = ("nothing changes in it", "'both' is nobody", "names", "'nobody': models draw")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_shipped_script_loads_and_is_written_as_it_was_read(path, tmp_path):
    script = load_script(path)
    save_script(tmp_path / "again.yaml", script)
    assert _show(load_script(tmp_path / "again.yaml")) == _show(script)
    remarks = [str(remark) for remark in review_script(script)]
    assert [text for text in remarks if not any(known in text for known in KNOWN)] == []


def _show(script: Script) -> str:
    """Returns a script as a text in which files are named without their folders."""
    return re.sub(r"file='[^']*/", "file='", repr(script))


def test_the_scene_in_the_cafe_is_of_eleven_shots_and_two_characters():
    script = load_script(FOLDER / "cafe.yaml")
    assert len(script.shots) == 11
    assert list(script.prompt.characters) == ["1", "2"]
    named = [find_characters(shot.text) for shot in script.shots]
    assert sum("1" in names for names in named) == 6
    assert sum("2" in names for names in named) == 8


@pytest.mark.slow
def test_prompts_of_shots_alone_are_short_enough_for_the_base_of_the_puppets():
    """They are counted when a scene is asked for, before anything is sampled."""
    puppets = FOLDER.parent / "puppets"
    codec = puppets / "patch_codec.safetensors"
    base = lct_jax.load(puppets / "puppets_base.safetensors", codec=codec)
    scene = base.sample(FOLDER / "puppets_apart.yaml", mode="image_to_video")
    assert scene.mode == "image_to_video"


def test_every_script_is_in_the_list():
    listed = (FOLDER / "README.md").read_text()
    assert [path.name for path in SCRIPTS if f"]({path.name})" not in listed] == []
