"""Checks the film that ships with the project: its scene file is valid, lies within the film, and fits the model."""

from __future__ import annotations

import functools
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest

from lct_jax.backbones.registry import build_abstract
from lct_jax.cli import load_config
from lct_jax.codecs.registry import load_codec
from lct_jax.config import Config, freeze
from lct_jax.data.scene_file import SceneFile, check_ranges, load_scene_file
from lct_jax.directing.prompts import find_characters, render_global, render_shot
from lct_jax.encoders.minilm import MiniLMEncoder
from lct_jax.media.video import iter_frames, probe_video, resize
from lct_jax.tensors import read_metadata
from lct_jax.training.checkpoint.weights import Meta, load_weights, read_weights_meta

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples/big_buck_bunny"
FRAMES = 7158  # decoded; the container declares as many
LONGEST = 125  # frames of a shot [LCT supplement A.1]


@functools.cache
def load() -> SceneFile:
    return load_scene_file(FOLDER / "scenes.json")


def get_config() -> Config:
    return freeze(load_config(str(ROOT / "configs/film_tiny.py")))


def test_scenes_and_shots_are_as_many_as_its_readme_says():
    scenes = load().scenes
    held_out = [scene.id for scene in scenes if scene.split == "held_out"]
    assert len(scenes) == 21
    assert sum(len(scene.ranges) for scene in scenes) == 134
    assert sum(len(frames) for scene in scenes for frames in scene.ranges) == 5841
    assert sum(not shot.cut for scene in scenes for shot in scene.script.shots) == 7
    assert held_out == ["hail_of_nuts", "setting_traps", "glide_over_the_wood"]


def test_shots_lie_within_the_film_and_the_paper_s_limit():
    film = load().film
    info = probe_video(film.file)
    assert (info.frame_count, info.fps, info.width, info.height) == (FRAMES, film.fps, 160, 90)
    check_ranges(load(), FRAMES)
    assert max(len(frames) for scene in load().scenes for frames in scene.ranges) <= LONGEST


def test_a_shot_without_a_cut_starts_where_the_one_before_it_ends():
    for scene in load().scenes:
        for number, shot in enumerate(scene.script.shots):
            if not shot.cut:
                assert scene.ranges[number].start == scene.ranges[number - 1].end, scene.id


def test_every_scene_describes_exactly_the_characters_in_its_prompts():
    for scene in load().scenes:
        prompt = scene.script.prompt
        texts = (prompt.environment, prompt.story, *(shot.text for shot in scene.script.shots))
        named = {name for text in texts for name in find_characters(text)}
        assert named == set(prompt.characters), scene.id


def test_its_texts_fit_the_spans_and_rows_of_the_tiny_model():
    config, counter = get_config(), MiniLMEncoder.load_counter(None, width=384)
    count = lambda texts: max(map(counter.count, texts))
    scene = count([render_global(scene.script.prompt) for scene in load().scenes])
    shot = count([render_shot(shot) for scene in load().scenes for shot in scene.script.shots])
    assert scene <= config.layout.scene_span
    assert shot <= config.layout.shot_span
    # A scene of as many shots as the model is tuned on fits a row whole.
    assert scene + config.data.max_shots * shot <= config.data.text_tokens


def test_the_shipped_base_is_of_the_model_codec_and_encoder_that_the_example_uses():
    """Otherwise `make demo` would end with an error after the film is prepared."""
    config = get_config()
    codec = load_codec(ROOT / config.prepare.codec_from, channels=config.backbone.channels)
    mine = Meta(config, codec.identity, MiniLMEncoder().identity, load().film.fps, "")
    base = ROOT / config.training.init_from
    read_weights_meta(base).check_same(str(base), mine)
    shapes = build_abstract(config.network).params
    leaves = jax.tree.leaves(load_weights(base, shapes))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert "Blender Foundation" in read_weights_meta(base).credit


def test_shipped_vae_size_and_credit():
    path = FOLDER / "film_vae.safetensors"
    assert path.stat().st_size < 8e6
    assert read_metadata(path)["credit"] == (
        "Big Buck Bunny (c) copyright 2008, Blender Foundation / www.bigbuckbunny.org, CC-BY 3.0"
    )


@pytest.mark.slow
def test_shipped_vae_reconstructs_a_frame_to_a_decibel_of_the_patch_codec():
    frame = resize(next(islice(iter_frames(load().film.file), 5600, None)), 80, 144)[None]
    errors = []
    for name in ("patch_codec", "film_vae"):
        codec = load_codec(FOLDER / f"{name}.safetensors", channels=16)
        made = codec.decode(codec.encode(frame))
        errors.append(np.square(made.astype(float) - frame).mean())
    assert errors[1] < 1.26 * errors[0]  # 1 dB
