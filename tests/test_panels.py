"""Pictures of three panels: what training is given is what sampling words alike and cuts apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_film import CONFIG, CUTS, HEIGHT, shared_film

from lct_jax.codecs.registry import load_codec
from lct_jax.config import Config
from lct_jax.data.panels import cut_panels, keep_panels, stack_panels
from lct_jax.data.prepare import prepare_panels
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sources import RawScene, RawShot
from lct_jax.directing.arrange import add_panels
from lct_jax.errors import InputError
from lct_jax.media.video import read_video
from lct_jax.puppets.prepare import Wanted, to_raw
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import Drawing, draw_scene
from lct_jax.puppets.words import write_script

CODEC = Path(__file__).parents[1] / "examples/puppets/patch_codec.safetensors"
FOUR = Drawing(shots=(4, 4), withhold=0.5, sizes=((32, 32),), cast=(2, 2))


def test_three_shots_at_a_time_become_one_picture_of_their_first_frames():
    shots = [RawShot(f"[SHOT CUT] {n}.", np.full((5, 2, 4, 3), n, np.uint8)) for n in range(4)]
    scene = RawScene("walk", "held_out", "Tom. A story.", "Tom.", iter(shots))
    one, two = stack_panels(scene)
    assert [one.name, two.name, one.split] == ["walk_0", "walk_1", "held_out"]
    assert (one.full, one.brief) == ("", "")
    ((first,), (second,)) = one.shots, two.shots
    assert first.text == "Tom. [SCENE-1] 0. [SCENE-2] 1. [SCENE-3] 2."
    assert second.text == "Tom. [SCENE-1] 1. [SCENE-2] 2. [SCENE-3] 3."
    assert first.frames.shape == (1, 6, 4, 3)
    assert first.frames[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_scene_of_two_shots_has_no_picture_of_three():
    shots = [RawShot("Rain.", np.zeros((1, 2, 2, 3), np.uint8))] * 2
    assert list(stack_panels(RawScene("walk", "train", "", "", shots))) == []


def test_the_caption_that_is_sampled_is_the_one_that_was_trained_on():
    scene = draw_scene(3, 0, FOUR)
    trained = [picture.shots[0].text for picture in stack_panels(to_raw(scene))]
    sampled = add_panels(write_script(scene)).shots[4:]
    assert [shot.text for shot in sampled] == trained


def test_panels_come_out_of_latents_as_pictures_of_their_own_do():
    scene, codec = draw_scene(3, 0, FOUR), load_codec(CODEC, channels=32)
    (stacked,) = next(stack_panels(to_raw(scene))).shots
    panels = cut_panels(codec.decode(codec.encode(stacked.frames)), 3)
    for shot, panel in zip(scene.shots, panels, strict=False):
        alone = render_shot(scene, shot)[:1]
        np.testing.assert_array_equal(panel, codec.decode(codec.encode(alone)))


def test_sets_that_were_made_before_panels_keep_their_names():
    assert "panels" not in Wanted(5, 0, FOUR).describe()
    assert Wanted(5, 0, FOUR, panels=3).describe()["panels"] == 3


def make_film_config(height: int) -> Config:
    """Returns the config of the tiny film for pictures of this height, with the codec of the shared film."""
    codec = str(shared_film().prepared / "codec.safetensors")
    prepare = dataclasses.replace(CONFIG.prepare, height=height, codec_from=codec)
    layout = dataclasses.replace(CONFIG.layout, shot_span=160)
    return dataclasses.replace(CONFIG, prepare=prepare, layout=layout)


def test_pictures_of_a_film_are_prepared_once_from_the_first_frames_of_its_shots(tmp_path):
    film, config = shared_film(), make_film_config(3 * HEIGHT)
    assert prepare_panels(film.scenes, tmp_path, config)
    assert not prepare_panels(film.scenes, tmp_path, config)
    # Of its scenes, one has three shots; those of two and of one make no picture.
    assert PreparedSet(tmp_path).scene_names == ["quay_0"]
    record = PreparedSet(tmp_path / "pixels").read_shot(0)
    frames = read_video(film.film).frames
    first = np.concatenate([frames[start] for start, _ in CUTS[:3]])
    np.testing.assert_array_equal(record["clip_0"], first[None])
    assert record["text"].tobytes().decode() == (
        "Character 1: A woman in a red coat. Environment: A quay at night. [SCENE-1] Character 1 waits. [SCENE-2] Rain"
        " on the quay. [SCENE-3] Character 1 leaves, and the dog stays."
    )


def test_a_height_that_is_no_multiple_of_the_panels_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^prepare.height: found 32, expected a multiple of 3"):
        keep_panels(shared_film().scenes, tmp_path, make_film_config(HEIGHT))
