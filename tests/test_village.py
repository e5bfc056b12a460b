"""Tests the village: scenes drawn from a seed, shots rendered as labelled, words, and the set made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from test_minilm import needs_package
from test_puppets_set import MODEL as PUPPETS

from lct_jax.config import Config, DataConfig, PrepareConfig, freeze, read_beside
from lct_jax.config.network import change, sections
from lct_jax.data.footage.text_limits import load_limits
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.validate import find_problems
from lct_jax.directing.prompts import render_global
from lct_jax.directing.prompts import render_shot as write_shot
from lct_jax.errors import InputError
from lct_jax.puppets.prepare import Wanted, prepare_puppets
from lct_jax.puppets.scene import Drawing, PuppetScene
from lct_jax.puppets.village import palette, render
from lct_jax.puppets.village.labels import ACTIONS, EXPRESSIONS, OF_PLACE, OF_VILLAGER, SIZE
from lct_jax.puppets.worlds import WORLDS, find_world

VILLAGE = WORLDS["village"]
ANY = Drawing((1, 9), sizes=(SIZE,))
CONFIGS = Path(__file__).parents[1] / "configs"
MODEL = change(PUPPETS, scene_span=120, shot_span=120)
CONFIG = Config(
    name="tiny_village",
    world="village",
    prepare=PrepareConfig(
        fps=8.0, height=64, width=96, max_frames=9, stills=1, encoder="stand_in", codec="patch"
    ),
    **sections(MODEL),
    data=DataConfig(rows=2, video_tokens=900, text_tokens=300, groups=12, pool=1),
)


def draw(number: int, drawing: Drawing = ANY, *, seed: int = 0) -> PuppetScene:
    return VILLAGE.draw_scene(seed, number, drawing)


def all_text(scene: PuppetScene) -> str:
    script = VILLAGE.write_script(scene)
    shared = "" if script.prompt is None else render_global(script.prompt)
    return " ".join([shared, *map(write_shot, script.shots)]).lower()


# ---- drawing -------------------------------------------------------------------------------------


def test_a_scene_and_its_pixels_depend_on_seed_and_number_alone():
    scene, other = draw(7), draw(8)
    assert scene == draw(7) != other
    frames = VILLAGE.render_shot(scene, scene.shots[0])
    # Drawn layers are kept for other frames, and must not change.
    for shot in (*other.shots, *scene.shots):
        VILLAGE.render_shot(other if shot in other.shots else scene, shot)
    np.testing.assert_array_equal(VILLAGE.render_shot(scene, scene.shots[0]), frames)
    for layer in (render._sky, render._distance, render._ground, render._landmark):
        layer.cache_clear()
    render.draw_cut_out.cache_clear()
    np.testing.assert_array_equal(VILLAGE.render_shot(scene, scene.shots[0]), frames)


def test_all_values_actions_and_faces_occur():
    scenes = [draw(number) for number in range(300)]
    assert {scene.world for scene in scenes} == {"village"}
    for name, values in OF_PLACE.items():
        assert {getattr(scene.environment, name) for scene in scenes} == set(values)
    for name, values in OF_VILLAGER.items():
        assert {getattr(c, name) for scene in scenes for c in scene.characters} == set(values)
    shots = [shot for scene in scenes for shot in scene.shots]
    for framing, actions in ACTIONS.items():
        assert {shot.action for shot in shots if shot.framing == framing} == set(actions)
    assert {shot.expression for shot in shots if shot.subjects} == set(EXPRESSIONS)
    assert {shot.expression for shot in shots if not shot.subjects} == {""}


def test_a_shot_without_a_cut_begins_where_the_one_before_it_ends():
    going = 0
    for number in range(120):
        scene = draw(number)
        for before, after in zip(scene.shots[:-1], scene.shots[1:], strict=True):
            if after.cut:
                continue
            going += 1
            assert after.expression == before.expression
            (camera, (old,)), (same, (new,)) = (
                render.follow(before, SIZE, 1.0),
                render.follow(after, SIZE, 0.0),
            )
            assert camera == pytest.approx(same)
            assert (old.x, old.feet, old.tall) == pytest.approx((new.x, new.feet, new.tall))
    assert going > 20


def test_frames_are_smooth_textured_and_shaded():
    """Pixels of one coat are many colours, lit from the side of the light, and the ground is darker in the shadow."""
    scene = next(s for s in map(draw, range(99)) if s.shots[0].subjects == (1,))
    shot = dataclasses.replace(
        scene.shots[0], framing="wide", action="stands", start=0.5, camera=0.0
    )
    place = dataclasses.replace(scene.environment, light="left", sky="blue", ground="snow")
    who = dataclasses.replace(scene.characters[0], colour="red", pattern="plain")
    lit = dataclasses.replace(scene, environment=place, characters=(who,))
    frame = VILLAGE.render_shot(lit, shot)[0].astype(float)
    assert frame.shape == (*SIZE, 3)
    coat = np.abs(frame / 255 - palette.COAT["red"]).max(-1) < 0.25
    assert len(np.unique(frame[coat], axis=0)) > 30
    columns = np.flatnonzero(coat.any(0))
    left, right = (frame[:, part][coat[:, part]].mean() for part in (columns[:4], columns[-4:]))
    assert left > right + 10
    row = round(render.FEET["wide"] * SIZE[0])
    assert frame[row, 60].mean() < frame[row, 8].mean() - 30


def test_an_unknown_world_is_refused():
    with pytest.raises(
        InputError, match=r"config\.world: found 'moon', expected puppets or village"
    ):
        find_world("moon")


# ---- writing -------------------------------------------------------------------------------------


def _words_of(scene: PuppetScene) -> dict[str, tuple[str, ...]]:
    """Returns the words that would give every attribute away."""
    words = {
        "sky": ("blue sky", "sunny", "golden", "sunset", "starry", "night", "cloud", "overcast"),
        "ground": OF_PLACE["ground"],
        "light": ("light left", "light right", "light from"),
        "landmark": OF_PLACE["landmark"],
        "distance": OF_PLACE["distance"],
    }
    for number in range(1, len(scene.characters) + 1):
        words |= {
            f"{number}.colour": OF_VILLAGER["colour"][:1] + OF_VILLAGER["colour"][2:],
            f"{number}.pattern": OF_VILLAGER["pattern"],
            f"{number}.hat": (" hat", "beanie"),
            f"{number}.hair": (" hair",),
            f"{number}.skin": (" skin",),
            f"{number}.legs": ("trousers",),
        }
    return words


def test_scripts_mention_all_attributes_except_withheld_ones():
    told = 0
    for number in range(150):
        scene = draw(number, dataclasses.replace(ANY, cast=(1, 1)), seed=5)
        if len(scene.shots) == 1 and not scene.shots[0].subjects:
            continue
        text = all_text(scene)
        for name, words in _words_of(scene).items():
            if name in scene.withheld:
                assert not any(word in text for word in words), (name, text)
            elif scene.attributes()[name] not in ("blue",):
                told += 1
                assert any(word in text for word in words), (name, text)
    assert told > 500


def test_attributes_and_faces_in_scripts_are_those_of_the_labels():
    for number in range(60):
        scene = draw(number, dataclasses.replace(ANY, withhold=0.0), seed=6)
        text, place, who = all_text(scene), scene.environment, scene.characters[0]
        assert place.landmark in text
        assert place.distance in text
        if scene.shots[0].subjects or len(scene.shots) > 1:
            assert f"{who.colour} {who.pattern} coat" in text
            assert f"{who.hair} hair" in text
        for shot, written in zip(scene.shots, VILLAGE.write_script(scene).shots, strict=True):
            faces = {"smiling": ("smiling", "happily"), "sad": ("sad",), "surprised": ("surpris",)}
            for face, words in faces.items():
                said = any(word in written.text.lower() for word in words)
                assert said == (face == shot.expression)


@needs_package
def test_prompts_fit_their_spans():
    limits = load_limits(freeze(read_beside(CONFIGS / "village.py", "village").get_config()))
    whole = dataclasses.replace(ANY, withhold=0.0, cast=(2, 2))
    for number in range(150):
        script = VILLAGE.write_script(draw(number, whole, seed=7))
        if script.prompt is not None:
            assert limits.count(render_global(script.prompt)) <= limits.scene
        for shot in script.shots:
            assert limits.count(write_shot(shot)) <= limits.shot
            assert limits.count(shot.alone or "") <= limits.shot


# ---- preparing -----------------------------------------------------------------------------------


def test_a_set_of_the_village_is_valid(tmp_path):
    drawing = Drawing((1, 2), sizes=(SIZE,), frames=(5,))
    wanted = Wanted(scenes=6, seed=4, drawing=drawing, world="village")
    assert prepare_puppets(wanted, tmp_path, CONFIG)
    assert list(find_problems(PreparedSet(tmp_path))) == []
    names = PreparedSet(tmp_path).scene_names
    assert sorted(names) == [f"village_4_{number:06d}" for number in range(6)]
    assert not prepare_puppets(wanted, tmp_path, CONFIG)
