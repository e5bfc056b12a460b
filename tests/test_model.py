"""The packed float32 model, compared with the dense float64 reference, and the independence of packed scenes."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from reference import scene_velocity
from scenes import TINY, TinyModel, make_scene, make_scenes, pack_scenes, split_scenes, to_reference

from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.backbones.registry import count_parameters
from lct_jax.config.network import change
from lct_jax.layout import unpatchify

CONTEXTS = ("full", "causal")
VARIANTS = {
    "norm over all heads, rms at the end": {"qk_norm": "all", "final_norm": "rms"},
    "no qk norm, other patch, other rope": {
        "qk_norm": "none",
        "patch": (2, 1, 1),
        "channels": 4,
        "rope_split": (8, 2, 6),
        "rope_base": 150.0,
    },
    "prompts seen by their own shots": {"prompts": "own", "kernel": "chunked"},
}


def check_against_reference(model: TinyModel, context: str) -> None:
    """Packs scenes of mixed aspect ratios and compares every shot with the reference."""
    scenes = make_scenes(config=model.config)
    rows = [[scenes["trio"], scenes["full_text"]], [scenes["single"], scenes["pair"]]]
    velocity_BLC = model.forward(pack_scenes(rows, config=model.config), context=context)
    for velocity_LC, row in zip(velocity_BLC, rows, strict=True):
        for found_LC, scene in zip(split_scenes(velocity_LC, row), row, strict=True):
            wanted = scene_velocity(model.weights, model.config, to_reference(scene), context)
            start = 1 - scene.plan.first_shot
            for shot, expected in zip(scene.plan.shots, wanted, strict=True):
                patches = found_LC[start : start + shot.video]
                found = unpatchify(patches, shot.grid, model.config.backbone.patch)
                assert expected.std() > 0.5
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
                start += shot.video


@pytest.mark.parametrize("context", CONTEXTS)
def test_agrees_with_the_dense_reference(tiny, context):
    check_against_reference(tiny, context)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_agree_with_the_dense_reference(name):
    model = TinyModel(change(TINY, **VARIANTS[name]))
    for context in CONTEXTS:
        check_against_reference(model, context)


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_packed_scene_has_the_velocity_of_the_scene_alone(tiny, context):
    scenes = make_scenes()
    rows = [[scenes["trio"], scenes["full_text"]], [scenes["single"], scenes["pair"]]]
    packed = tiny.forward(pack_scenes(rows), context=context)
    for velocity_LC, row in zip(packed, rows, strict=True):
        for found_LC, scene in zip(split_scenes(velocity_LC, row), row, strict=True):
            alone = tiny.forward(pack_scenes([[scene], []]), context=context)
            expected_LC = split_scenes(alone[0], [scene])[0]
            np.testing.assert_allclose(found_LC, expected_LC, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", CONTEXTS)
def test_packed_scenes_do_not_affect_each_other(tiny, context):
    scenes = make_scenes()
    row = [scenes["trio"], scenes["full_text"]]
    # Other latents, noise, prompts and time, and another shape and text length too.
    other = make_scene(9, global_text=5, shots=[(2, (1, 1, 5), 0.75), (6, (1, 2, 1), 0.5)])
    before = tiny.forward(pack_scenes([row, [scenes["single"]]]), context=context)
    after = tiny.forward(pack_scenes([[row[0], other], [scenes["single"]]]), context=context)
    np.testing.assert_array_equal(after[0, :15], before[0, :15])  # all of "trio"
    np.testing.assert_array_equal(after[1, :12], before[1, :12])  # all of "single"
    assert np.abs(after[0, 15:23] - before[0, 15:23]).min(axis=1).all()


@pytest.mark.parametrize("context", CONTEXTS)
def test_padding_values_do_not_affect_scenes(tiny, context):
    scenes = make_scenes()
    packed = pack_scenes([[scenes["single"]], [scenes["pair"]]])
    before = tiny.forward(packed, context=context)
    video, text = packed.batch.video, packed.batch.text
    video.value[video.index.scene == 0] = 1e3
    text.value[text.index.scene == 0] = -1e3
    after = tiny.forward(packed, context=context)
    scene = video.index.scene > 0
    np.testing.assert_array_equal(after[scene], before[scene])


def test_earlier_shots_depend_on_later_ones_only_in_full_context(tiny):
    pair = make_scenes()["pair"]
    other = make_scene(8, global_text=1, shots=[(3, (1, 2, 2), 1.0), (2, (3, 1, 1), 0.875)])
    edited = dataclasses.replace(
        pair,
        clean=(pair.clean[0], other.clean[1]),
        prompts=(*pair.prompts[:2], other.prompts[2]),
        times=other.times,
    )
    rows = [[pair], [edited]]
    full, causal = (tiny.forward(pack_scenes(rows), context=context) for context in CONTEXTS)
    np.testing.assert_array_equal(causal[0, :5], causal[1, :5])  # dummy and shot 1
    assert np.abs(full[0, :5] - full[1, :5]).min(axis=1).all()
    assert np.abs(causal[0, 5:8] - causal[1, 5:8]).min(axis=1).all()


def test_initial_weights_differ_by_layer_and_predict_nothing():
    params = jax.jit(lambda: nnx.state(MMDiT(TINY, rngs=nnx.Rngs(0))))()
    for stream in ("text", "video"):
        for name in ("qkv", "out", "up", "down"):
            first, second = np.asarray(params["blocks"][stream][name]["kernel"][...])
            assert np.abs(first - second).max() > 0.1
            limit = np.sqrt(6 / sum(first.shape))  # Xavier
            assert 0.9 * limit < np.abs(first).max() <= limit
    for zero in ("text", "video", "final"):
        assert not np.asarray(params["time"][zero]["kernel"][...]).any()
    assert not np.asarray(params["video_out"]["kernel"][...]).any()


def test_counts_every_parameter(tiny):
    assert count_parameters(TINY) == sum(array.size for array in tiny.weights.values())
