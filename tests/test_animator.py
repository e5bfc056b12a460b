"""A network of its own that makes the videos of pictures: what it shares with the first, and what it is asked for."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from scenes import randomise
from test_baselines import SCRIPT
from tiny_generator import make_generator

from lct_jax.config import LayoutConfig
from lct_jax.errors import InputError
from lct_jax.generator import Generator
from lct_jax.training.checkpoint.weights import Meta


def make_generator_like(generator: Generator, meta: Meta) -> Generator:
    """Returns another network of random weights with the same codec and encoder."""
    place = lambda leaf, shape: jax.device_put(leaf, shape.sharding)
    others = lambda shapes: jax.tree.map(place, randomise(shapes, seed=1), shapes)
    return Generator(meta, others, codec=generator.codec, encoder=generator.encoder)


@pytest.mark.slow
def test_another_network_makes_the_videos_of_pictures():
    generator = make_generator("full")
    animator = make_generator_like(generator, generator.meta)
    make = lambda **more: {
        shot.number: shot.latent
        for shot in generator.sample(SCRIPT, mode="in_context", long_prompts="cut", **more)
    }
    one, two = make(), make(animator=animator)
    for number, latent in one.items():
        # Both begin with the panel that the first network has made, and go on by themselves.
        np.testing.assert_array_equal(latent[:1], two[number][:1])
        assert (latent[1:] != two[number][1:]).any()


def test_texts_of_videos_fit_the_span_of_the_network_that_makes_them():
    """They are refused by name before anything is sampled, or cut where that is asked for."""
    generator = make_generator("full")

    def make(span: int) -> Generator:
        layout = LayoutConfig(scene_span=64, shot_span=span)
        config = dataclasses.replace(generator.config, layout=layout)
        return make_generator_like(generator, dataclasses.replace(generator.meta, config=config))

    panels, animator = make(512), make(6)
    message = r"^script: shots\[0\]\.prompt: found \d+ tokens of text, expected at most 6: shorten"
    with pytest.raises(InputError, match=message):
        panels.sample(SCRIPT, mode="in_context", animator=animator)
    scene = panels.sample(SCRIPT, mode="in_context", animator=animator, long_prompts="cut")
    lengths = {shot.begins is None: len(shot.prompt.text) for shot in scene.request.shots}
    assert lengths[False] == 6 < lengths[True]


def test_an_animator_has_nothing_to_do_where_no_shot_begins_with_a_picture():
    generator = make_generator("full")
    with pytest.raises(InputError, match=r"^--animator: found in --mode=joint, where no shot"):
        generator.sample(SCRIPT, mode="joint", animator=generator)
