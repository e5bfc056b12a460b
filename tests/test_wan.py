"""What is Wan's own: zeros behind a prompt, kernels for two lengths, and where a scene's layout must refuse."""

from __future__ import annotations

import numpy as np
import pytest
from gradient import check_near, compile_gradient
from scenes import TINY_WAN, Scene, TinyModel, make_scene, make_scenes, pack_scenes, split_scenes

from lct_jax.attention import blocks, mosaic
from lct_jax.config import Config, LayoutConfig, NetworkConfig, TrainingConfig, WanConfig
from lct_jax.config.network import change
from lct_jax.errors import InputError

PLACES = TINY_WAN.backbone.text_places


@pytest.fixture(scope="module")
def model() -> TinyModel:
    return TinyModel(TINY_WAN)


def with_zeros(scene: Scene) -> Scene:
    """The same shot, its text padded by zeros that are written out."""
    full = make_scene(0, shots=[(PLACES, scene.plan.shots[0].grid, 0.5)], config=TINY_WAN)
    text = np.zeros_like(full.prompts[0])
    text[: len(scene.prompts[0])] = scene.prompts[0]
    return Scene(full.plan, scene.clean, scene.noise, (text,), scene.times)


@pytest.mark.parametrize("length", [0, 1, 7, PLACES])
def test_zeros_behind_a_prompt_count_as_if_they_were_written_out(model, length):
    shot = make_scene(3, shots=[(length, (2, 3, 2), 0.625)], config=TINY_WAN)
    found, expected = (
        model.forward(pack_scenes([[scene]], config=TINY_WAN))[0, :12]
        for scene in (shot, with_zeros(shot))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    if 0 < length < PLACES:  # and they do count, unless there is nothing else to read
        other = TinyModel(change(TINY_WAN, text_places=max(length, 14)))
        fewer = other.forward(pack_scenes([[shot]], config=other.config))[0, :12]
        assert np.abs(fewer - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["mosaic", "triton"])
def test_kernels_agree_in_velocity_and_gradient(model, kernel, monkeypatch):
    monkeypatch.setattr(mosaic, "BLOCK", blocks.LANES)
    scenes = make_scenes(config=TINY_WAN)
    packed = pack_scenes([[scenes["trio"], scenes["pair"]], [scenes["single"]]], config=TINY_WAN)
    other = TinyModel(change(TINY_WAN, kernel=kernel))
    chunked = TinyModel(change(TINY_WAN, kernel="chunked"))
    for context in ("full", "causal"):
        found, expected = (m.forward(packed, context=context) for m in (other, chunked))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    training = TrainingConfig(steps=10, warmup=1)
    found, expected = (
        compile_gradient(m, training)(m.params, packed.batch, packed.added)
        for m in (other, chunked)
    )
    check_near(found.tree, expected.tree)


def test_shots_that_see_only_themselves_may_lie_anywhere(model):
    """Attention depends on differences of places: a shot far from the origin is the shot at it."""
    shot = make_scenes(config=TINY_WAN)["single"]
    packed = pack_scenes([[shot]], config=TINY_WAN)
    at_origin = split_scenes(model.forward(packed)[0], [shot])[0]
    packed.batch.video.index.coord[0] += np.array([517, 300, 411], np.int32)
    moved = split_scenes(model.forward(packed)[0], [shot])[0]
    np.testing.assert_allclose(moved, at_origin, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"prompts": "all"}, "layout.prompts: found 'all', expected 'own' with backbone.family"),
        (
            {"scene_span": 300},
            "layout.scene_span: found 300 and layout.shot_span 256, expected a sum of at most 512",
        ),
    ],
)
def test_a_layout_that_a_shot_cannot_read_is_refused(layout, expected):
    layout = LayoutConfig(**{"scene_span": 256, "prompts": "own"} | layout)
    for make in (lambda: NetworkConfig(WanConfig(), layout), lambda: make_config(layout)):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value).startswith(expected)


def make_config(layout: LayoutConfig) -> Config:
    """An experiment with Wan."""
    return Config("wan", backbone=WanConfig(), layout=layout)


def test_heads_that_do_not_make_up_the_width_are_refused():
    with pytest.raises(InputError) as caught:
        WanConfig(width=1500)
    assert str(caught.value) == ("backbone.width: found 1500, expected 1536, heads times head_dim")


def test_wan_itself_is_told_no_frame_rate():
    with pytest.raises(InputError) as caught:
        WanConfig(fps=24)
    assert str(caught.value) == "backbone.fps: found 24, expected 0 with backbone.release 'wan'"


def test_a_frame_rate_changes_the_velocity(model):
    """Row 0 of the embedding is 16 frames a second, and row 1 is 24."""
    shot = make_scene(3, shots=[(3, (2, 3, 2), 0.625)], config=TINY_WAN)
    told = {fps: TinyModel(change(TINY_WAN, release="skyreels_v2", fps=fps)) for fps in (16, 24)}
    velocity = {
        fps: told[fps].forward(pack_scenes([[shot]], config=told[fps].config)) for fps in told
    }
    assert np.abs(velocity[16] - velocity[24]).max() > 1e-3
