"""Tests puppet scenes: drawn from a seed, rendered as labelled, and described without withheld attributes."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from lct_jax.directing.prompts import render_global
from lct_jax.directing.prompts import render_shot as write_shot
from lct_jax.directing.save_script import save_script
from lct_jax.directing.script import load_script
from lct_jax.puppets import palette
from lct_jax.puppets.render import HORIZON, distance_of, follow, render_shot
from lct_jax.puppets.scene import (
    HATS,
    OF_CHARACTER,
    OF_ENVIRONMENT,
    SHAPES,
    SIZES,
    Character,
    Drawing,
    Environment,
    PuppetScene,
    PuppetShot,
    draw_scene,
)
from lct_jax.puppets.words import write_script

ANY = Drawing(shots=(1, 9))


def one_shot(action: str = "stands", *, frames: int = 5, start: float = 0.5) -> PuppetScene:
    """Returns a scene of one wide shot of a red square under a blue sky."""
    shot = PuppetShot("wide", (1,), action, frames, True, start, 0.0)
    return PuppetScene(
        name="one",
        seed=(0, 0),
        size=(32, 40),
        environment=Environment("blue", "green", "left", "tree"),
        characters=(Character("red", "square", "none"),),
        shots=(shot,),
        withheld=frozenset(),
    )


# ---- drawing -------------------------------------------------------------------------------------


def test_a_scene_depends_on_seed_and_number_alone():
    assert draw_scene(3, 7, ANY) == draw_scene(3, 7, ANY)
    assert draw_scene(3, 7, ANY) != draw_scene(3, 8, ANY)
    assert draw_scene(3, 7, ANY) != draw_scene(4, 7, ANY)


def test_all_sizes_shot_counts_and_values_occur():
    scenes = [draw_scene(0, number, ANY) for number in range(300)]
    assert {scene.size for scene in scenes} == set(SIZES)
    assert {len(scene.shots) for scene in scenes} == set(range(1, 10))
    for name, values in OF_ENVIRONMENT.items():
        assert {getattr(scene.environment, name) for scene in scenes} == set(values)
    for name, values in OF_CHARACTER.items():
        assert {getattr(c, name) for scene in scenes for c in scene.characters} == set(values)


def test_values_are_drawn_evenly():
    skies = [draw_scene(1, number, ANY).environment.sky for number in range(800)]
    counts = [skies.count(sky) for sky in OF_ENVIRONMENT["sky"]]
    assert max(abs(count - 200) for count in counts) < 5 * np.sqrt(800 * 0.25 * 0.75)


def test_characters_of_a_scene_differ_in_colour():
    scenes = [draw_scene(2, number, ANY) for number in range(100)]
    pairs = [s.characters for s in scenes if len(s.characters) == 2]
    assert pairs
    assert all(one.colour != other.colour for one, other in pairs)


@pytest.mark.parametrize("cast", [(1, 1), (2, 2), (1, 2)])
def test_a_scene_of_several_shots_has_as_many_characters_as_wanted(cast):
    drawing = Drawing(shots=(1, 3), cast=cast)
    scenes = [draw_scene(3, number, drawing) for number in range(60)]
    assert {len(s.characters) for s in scenes if len(s.shots) > 1} == set(cast)
    assert {len(s.characters) for s in scenes if len(s.shots) == 1} == {1}


def test_a_character_is_absent_for_the_configured_number_of_shots():
    drawing = Drawing(shots=(8, 8), absence=5)
    for number in range(20):
        subjects = [shot.subjects for shot in draw_scene(0, number, drawing).shots]
        assert len(subjects) == 8
        assert subjects[0] == subjects[6] == (1,)
        assert all(1 not in who for who in subjects[1:6])


def test_a_shot_without_a_cut_continues_the_one_before_it():
    going = []
    for number in range(60):
        scene = draw_scene(0, number, ANY)
        assert scene.shots[0].cut
        for before, after in itertools.pairwise(scene.shots):
            if not after.cut:
                going.append(after)
                assert (after.framing, after.subjects) == (before.framing, before.subjects)
                assert (after.start, after.camera) == (before.end, before.camera_end)
    assert len(going) > 20


# ---- painting ------------------------------------------------------------------------------------


def test_pixels_have_the_colours_of_their_labels():
    frames = render_shot(one_shot(), one_shot().shots[0])
    assert frames.shape == (5, 32, 40, 3)
    assert frames.dtype == np.uint8
    assert tuple(frames[0, 1, 20]) == palette.SKY["blue"]
    assert tuple(frames[0, 30, 2]) == palette.GROUND["green"]
    assert tuple(frames[0, 21, 20]) == palette.CHARACTER["red"]
    assert tuple(frames[0, 5, 7]) == palette.SUN  # on the left
    assert tuple(frames[0, 13, 33]) == palette.LANDMARK["tree"]  # on the other side


def test_edges_are_smooth():
    """The horizon lies at 19.84 of 32, so row 19 is sky except for 16%, which is ground."""
    frame = render_shot(one_shot(), one_shot().shots[0])[0]
    sky, ground = np.array(palette.SKY["blue"]), np.array(palette.GROUND["green"])
    share = 20 - HORIZON * 32
    np.testing.assert_allclose(frame[19, 1], sky + share * (ground - sky), atol=0.51)


@pytest.mark.parametrize(
    ("action", "way", "shift", "rise"),
    [
        ("stands", 0.0, 0.0, 0.0),
        ("walks left", -0.3 * 40, 0.0, 0.0),
        ("walks right", 0.3 * 40, 0.0, 0.0),
        ("jumps", 0.0, 0.0, 0.2 * 32),
        # The camera turns left, and everything else moves right.
        ("pans left", 0.2 * 40, 0.2 * 40, 0.0),
        ("pans right", -0.2 * 40, -0.2 * 40, 0.0),
    ],
)
def test_rendered_motion_follows_the_action(action, way, shift, rise):
    track = follow(one_shot(action).shots[0], (32, 40))
    assert track.x[-1] - track.x[0] == pytest.approx(way)
    assert track.shift[-1] - track.shift[0] == pytest.approx(shift)
    assert track.feet[0] - track.feet.min() == pytest.approx(rise)
    assert track.feet[-1] == pytest.approx(track.feet[0])


@pytest.mark.parametrize(
    ("shape", "area"), [("circle", np.pi / 4), ("square", 0.81), ("triangle", 0.5)]
)
def test_bodies_have_the_area_of_their_shape(shape, area):
    y, x = np.mgrid[:80, :80] + 0.5
    cover = np.clip(0.5 - distance_of(shape, x - 40, y - 70, 60.0), 0, 1)
    assert cover.sum() == pytest.approx(area * 60**2, rel=0.01)
    assert np.flatnonzero(cover.sum(axis=1))[-1] in (69, 70)  # it stands at 70


# ---- writing -------------------------------------------------------------------------------------


def all_text(scene: PuppetScene) -> str:
    script = write_script(scene)
    shared = "" if script.prompt is None else render_global(script.prompt)
    return " ".join([shared, *map(write_shot, script.shots)])


@pytest.mark.parametrize("shots", [(1, 1), (2, 9)])
def test_scripts_mention_all_attributes_except_withheld_ones(shots):
    words = {"sky": " sky", "ground": " ground", "sun": "sun", "landmark": "(tree|hut|tower)"}
    of_character = {"colour": f"({'|'.join(OF_CHARACTER['colour'])}) ({'|'.join(SHAPES)}|puppet)"}
    of_character |= {"shape": f"({'|'.join(SHAPES)})", "hat": " hat"}
    for number in range(60):
        scene = draw_scene(5, number, Drawing(shots))
        text = all_text(scene)
        for name, pattern in words.items():
            assert bool(re.search(pattern, text, re.IGNORECASE)) == (name not in scene.withheld)
        if len(scene.characters) == 1 and scene.shots[0].subjects:
            for name, pattern in of_character.items():
                told = f"1.{name}" not in scene.withheld
                assert bool(re.search(pattern, text, re.IGNORECASE)) == told, (name, text)


def test_attributes_in_scripts_have_the_values_of_the_labels():
    scene = one_shot()
    text = all_text(scene)
    assert "red square" in text
    assert "lue sky" in text
    assert "reen ground" in text
    assert re.search("sun (on the )?left", text, re.IGNORECASE)
    hats = {c: draw_scene(0, n, Drawing((1, 1), 0.0)) for n, c in enumerate("abcdefghijkl")}
    for other in hats.values():
        if other.shots[0].subjects:
            hat = other.characters[0].hat
            written = re.search(r"(\w+) hat", all_text(other))[1]
            assert written == {"black": "black", "white": "white"}.get(hat, written)
            assert (written in ("no", "without")) == (hat == HATS[2])


def test_wording_varies_between_scenes_of_one_kind():
    drawing = Drawing((1, 1), 0.0)
    starts = {all_text(draw_scene(0, n, drawing)).split(":")[0].strip() for n in range(60)}
    assert len(starts) == 9  # three for each framing


def test_a_script_is_read_as_it_was_written(tmp_path):
    for number in range(8):
        script = write_script(draw_scene(0, number, Drawing((1, 9))))
        save_script(tmp_path / "script.json", script)
        assert load_script(tmp_path / "script.json") == script
