"""Tests reading the village back: drawn shots are read right, before and after the codec, and from pixels alone."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from lct_jax.codecs.registry import load_codec
from lct_jax.evaluation.puppet_measures import count_values, judge_scene
from lct_jax.evaluation.puppet_table import COLUMNS, summarize
from lct_jax.evaluation.puppets import lengthen
from lct_jax.evaluation.rollout_measures import judge_by_number
from lct_jax.puppets.scene import TURN, Drawing, PuppetScene, PuppetShot
from lct_jax.puppets.village.labels import (
    OF_PLACE,
    OF_VILLAGER,
    SIZE,
    Place,
    Villager,
)
from lct_jax.puppets.village.read import read_frame
from lct_jax.puppets.worlds import WORLDS

VILLAGE = WORLDS["village"]
CODEC = Path(__file__).parents[1] / "examples/village/patch_codec.safetensors"
TOM = Villager("red", "striped", "beanie", "ginger", "tan", "navy")
SCENES = 14
LEAST_TOLD = 0.95


def one_shot(
    action: str = "stands", *, framing: str = "wide", who: Villager = TOM, face: str = "smiling"
) -> PuppetScene:
    """Returns a scene of one shot of five frames."""
    shot = PuppetShot(framing, (1,), action, 5, True, 0.5, -TURN.get(action, 0.0) / 2, face)
    place = Place("blue", "sand", "left", "windmill", "sea")
    return PuppetScene("one", (0, 0), SIZE, place, (who,), (shot,), frozenset(), "village")


def read_many() -> dict[str, list[bool | None]]:
    """Returns what was read right (None: unclear) behind the codec in many scenes, by attribute."""
    codec, found = load_codec(CODEC, channels=64), defaultdict(list)
    for number in range(SCENES):
        scene = VILLAGE.draw_scene(9, number, Drawing((3, 6), sizes=(SIZE,)))
        for shot in scene.shots:
            frames = VILLAGE.render_shot(scene, shot)
            seen = VILLAGE.read_shot(codec.decode(codec.encode(frames)))
            for name in OF_PLACE:
                found[name].append(
                    _right(getattr(seen.first, name), getattr(scene.environment, name))
                )
            there = {c.colour: c for c in seen.first.characters}
            cast = [scene.characters[n - 1] for n in shot.subjects]
            found["who"].append({c.colour for c in cast} == there.keys())
            for who in (c for c in cast if c.colour in there):
                for name in OF_VILLAGER:
                    # Nobody's legs are seen from near.
                    if name != "colour" and (name, shot.framing) != ("legs", "close"):
                        shown = getattr(there[who.colour], name)
                        found[name].append(_right(shown, getattr(who, name)))
                found["expression"].append(_right(there[who.colour].expression, shot.expression))
                found["framing"].append(there[who.colour].framing == shot.framing)
            found["action"].append(_right(seen.action, shot.action))
    return found


def _right(seen: object, expected: object) -> bool | None:
    return None if seen is None else seen == expected


@pytest.mark.slow
def test_attributes_are_read_right_behind_the_codec():
    """Before it they are too: `test_a_drawn_scene_is_right_in_every_measure_of_the_evaluation`."""
    found = read_many()
    assert found.keys() >= {*OF_PLACE, *OF_VILLAGER, "expression", "framing", "action"} - {"colour"}
    for name, hits in found.items():
        told = [hit for hit in hits if hit is not None]
        assert len(hits) >= 50, name
        assert np.mean(told) >= 0.98, name
        assert len(told) / len(hits) >= LEAST_TOLD, name


@pytest.mark.parametrize("framing", ["wide", "medium", "close"])
def test_the_reader_tells_what_is_drawn_and_not_what_is_asked_for(framing):
    """It has no label at hand: the same scene with another villager is read as that one."""
    other = Villager("teal", "dotted", "straw hat", "black", "dark", "white")
    scene = one_shot(framing=framing, who=other, face="surprised")
    (seen,) = read_frame(VILLAGE.render_shot(scene, scene.shots[0])[0]).characters
    read = {name: getattr(seen, name) for name in OF_VILLAGER}
    expected = dict(vars(other)) | ({"legs": None} if framing == "close" else {})
    assert read == expected
    assert (seen.expression, seen.framing) == ("surprised", framing)


@pytest.mark.parametrize("action", ["walks left", "jumps", "waves", "pans right", "zooms in"])
def test_a_shot_played_backwards_moves_the_other_way(action):
    scene = one_shot(action)
    frames = VILLAGE.render_shot(scene, scene.shots[0])
    opposite = {
        "walks left": "walks right",
        "pans right": "pans left",
        "zooms in": "zooms out",
    }
    assert VILLAGE.read_shot(frames).action == action
    assert VILLAGE.read_shot(frames[::-1]).action == opposite.get(action, action)


def test_noise_and_blank_frames_show_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    for frame in (noise, np.full((*SIZE, 3), (0, 255, 0), np.uint8)):
        seen = read_frame(frame)
        assert seen.characters == ()
        assert all(getattr(seen, name) is None for name in OF_PLACE)
    assert VILLAGE.read_shot(noise[None].repeat(5, axis=0)).action is None


def test_a_place_without_villagers_shows_none():
    scene = one_shot()
    empty = dataclasses.replace(scene.shots[0], subjects=(), expression="")
    frames = VILLAGE.render_shot(scene, empty)
    assert read_frame(frames[0]).characters == ()
    # A character that a frame shows only in part of a mixture with the place is none either.
    full = VILLAGE.render_shot(scene, scene.shots[0])
    faint = (0.85 * frames[0] + 0.15 * full[0]).astype(np.uint8)
    assert read_frame(faint).characters == ()


@pytest.mark.slow
def test_a_drawn_scene_is_right_in_every_measure_of_the_evaluation():
    drawing = dataclasses.replace(lengthen(8, "village"), withhold=0.5)
    assert drawing.sizes == (SIZE,)
    tallies = []
    for number in range(2):
        scene = VILLAGE.draw_scene(11, number, drawing)
        frames = [VILLAGE.render_shot(scene, shot) for shot in scene.shots]
        seen = [VILLAGE.read_shot(shot) for shot in frames]
        measured = judge_scene(scene, seen) | count_values(scene, seen)
        assert all(
            tally.right == tally.readable
            for name, tally in measured.items()
            if not name.startswith("shows/")
        )
        numbered = judge_by_number(scene, frames, seen)
        assert not any(name.startswith("pure") for name in numbered)
        tallies.append(measured)
    shares = summarize(tallies)
    kept = ("given environment kept", "given characters kept")
    assert all(shares[name].value == 1.0 for name in (*COLUMNS, "expression") if name not in kept)
