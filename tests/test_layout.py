"""Positions, groups and packing of tokens, compared with numbers written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import TINY, make_scenes, pack_scenes

from lct_jax.config import LayoutConfig
from lct_jax.errors import InputError
from lct_jax.layout import (
    GroupPlan,
    ScenePlan,
    SceneTokens,
    lay_out,
    pack,
    patchify,
    token_grid,
    unpatchify,
)

LAYOUT = LayoutConfig(scene_span=3, shot_span=2)
# A global prompt of two tokens, then a wide still and a tall clip of two frames.
TWO_SHOTS = ScenePlan(2, (GroupPlan(1, (1, 1, 2)), GroupPlan(2, (2, 2, 1))))
ONE_SHOT = ScenePlan(None, (GroupPlan(1, (1, 1, 2)),))


def test_coordinates_of_a_scene_of_two_aspect_ratios():
    layout = lay_out(TWO_SHOTS, layout=LAYOUT)
    assert layout.text.coord.tolist() == [
        [0, 0, 0],  # global prompt; its span ends at 3
        [1, 1, 1],
        [4, 4, 4],  # shot 1 follows the dummy at 3; its span ends at 6
        [8, 8, 8],  # shot 2 follows max(1, 1, 2) positions later; its span ends at 10
        [9, 9, 9],
    ]
    assert layout.video.coord.tolist() == [
        [3, 3, 3],  # dummy
        [6, 6, 6],  # shot 1: one frame, one row, two columns
        [6, 6, 7],
        [10, 10, 10],  # shot 2: two frames, two rows, one column
        [10, 11, 10],
        [11, 10, 10],
        [11, 11, 10],
    ]
    assert layout.text.shot.tolist() == [0, 0, 1, 2, 2]
    assert layout.video.shot.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert layout.text.slot.tolist() == [0, 0, 1, 2, 2]
    assert layout.video.slot.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert set(layout.text.scene) == set(layout.video.scene) == {1}
    assert {leaf.dtype for part in layout for leaf in part} == {np.dtype(np.int32)}


def test_a_single_shot_is_group_0_but_shot_1():
    layout = lay_out(ONE_SHOT, layout=LAYOUT)
    assert layout.text.coord.tolist() == [[0, 0, 0]]
    assert layout.video.coord.tolist() == [[2, 2, 2], [2, 2, 3]]
    assert layout.text.shot.tolist() == [1]
    assert layout.video.shot.tolist() == [1, 1]
    assert layout.text.slot.tolist() == [0]
    assert layout.video.slot.tolist() == [0, 0]


def test_groups_take_a_multiple_of_the_stride():
    layout = lay_out(TWO_SHOTS, layout=LayoutConfig(scene_span=3, shot_span=2, stride=5))
    assert layout.text.coord[:, 0].tolist() == [0, 1, 5, 10, 11]  # 4 and 4 positions, up to 5
    assert layout.video.coord[:, 0].tolist() == [3, 7, 7, 12, 12, 13, 13]
    exact = lay_out(TWO_SHOTS, layout=LayoutConfig(scene_span=3, shot_span=2, stride=4))
    np.testing.assert_array_equal(exact.video.coord, lay_out(TWO_SHOTS, layout=LAYOUT).video.coord)


def test_same_positions_start_every_shot_where_the_first_starts():
    layout = lay_out(TWO_SHOTS, layout=LayoutConfig(scene_span=3, shot_span=2, positions="same"))
    assert layout.text.coord[:, 0].tolist() == [0, 1, 4, 4, 5]
    assert layout.video.coord.tolist() == [
        [3, 3, 3],  # the dummy, in front of all shots
        [6, 6, 6],
        [6, 6, 7],
        [6, 6, 6],
        [6, 7, 6],
        [7, 6, 6],
        [7, 7, 6],
    ]
    one, two = (
        lay_out(ONE_SHOT, layout=LayoutConfig(scene_span=3, shot_span=2, positions=positions))
        for positions in ("interleaved", "same")
    )
    np.testing.assert_array_equal(one.video.coord, two.video.coord)


def test_prompt_lengths_do_not_change_positions():
    shots = (GroupPlan(2, (1, 1, 2)), GroupPlan(0, (2, 2, 1)))
    edited = lay_out(ScenePlan(3, shots), layout=LAYOUT)
    original = lay_out(TWO_SHOTS, layout=LAYOUT)
    np.testing.assert_array_equal(edited.video.coord, original.video.coord)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            ScenePlan(4, (GroupPlan(1, (1, 1, 1)),)),
            "global prompt: found 4 text tokens, expected at most 3 (its reserved span)",
        ),
        (
            ScenePlan(0, (GroupPlan(2, (1, 1, 1)), GroupPlan(3, (1, 1, 1)))),
            "prompt of shot 2: found 3 text tokens, expected at most 2 (its reserved span)",
        ),
        (ScenePlan(2, ()), "scene: found no shot, expected at least one"),
    ],
)
def test_a_text_longer_than_its_span_is_refused(plan, message):
    with pytest.raises(InputError) as caught:
        lay_out(plan, layout=LAYOUT)
    assert str(caught.value) == message


def test_patches_have_channels_fastest_and_frames_outermost():
    latent = np.arange(16, dtype=np.float32).reshape(1, 2, 4, 2)  # T X Y c
    patches = patchify(latent, (1, 2, 2))
    assert patches.tolist() == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]


def test_unpatchify_inverts_patchify():
    latent = np.random.default_rng(0).normal(size=(4, 6, 2, 3))
    patch = (2, 3, 1)
    grid = token_grid(latent.shape[:3], patch)
    assert grid == (2, 2, 2)
    np.testing.assert_array_equal(unpatchify(patchify(latent, patch), grid, patch), latent)


def test_token_grid_names_the_side_that_does_not_divide():
    with pytest.raises(InputError) as caught:
        token_grid((3, 4, 5), (1, 2, 2))
    assert str(caught.value) == "latent Y side: found 5, expected a multiple of 2"


def _scene_tokens(plan: ScenePlan, fill: float) -> SceneTokens:
    layout = lay_out(plan, layout=LAYOUT)
    return SceneTokens(
        video=np.full((len(layout.video.shot), 2), fill, np.float32),
        text=np.full((len(layout.text.shot), 3), -fill, np.float32),
        layout=layout,
    )


def test_scenes_are_packed_in_order_with_consecutive_group_slots():
    rows = [[_scene_tokens(TWO_SHOTS, 1.0), _scene_tokens(ONE_SHOT, 2.0)], []]
    video, text, condition = pack(rows, video_tokens=11, text_tokens=8, channels=2, text_width=3)
    assert condition is None
    assert video.value.shape == (2, 11, 2) and text.value.shape == (2, 8, 3)
    assert video.value.dtype == text.value.dtype == np.float32
    assert video.value[0, :, 0].tolist() == [1] * 7 + [2] * 2 + [0] * 2
    assert text.value[0, :, 2].tolist() == [-1] * 5 + [-2] + [0] * 2
    assert video.index.scene[0].tolist() == [1] * 7 + [2] * 2 + [0] * 2
    assert text.index.scene[0].tolist() == [1] * 5 + [2] + [0] * 2
    assert video.index.shot[0].tolist() == [0, 1, 1, 2, 2, 2, 2, 1, 1, 0, 0]
    assert text.index.shot[0].tolist() == [0, 0, 1, 2, 2, 1, 0, 0]
    assert video.index.slot[0].tolist() == [0, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0]
    assert text.index.slot[0].tolist() == [0, 0, 1, 2, 2, 3, 0, 0]
    assert video.index.coord[0, 7:].tolist() == [[2, 2, 2], [2, 2, 3], [0, 0, 0], [0, 0, 0]]
    assert text.index.coord[0, 5:].tolist() == [[0, 0, 0]] * 3
    for tokens in (video, text):  # a row of nothing but padding
        assert not tokens.value[1].any()
        assert not any(leaf[1].any() for leaf in tokens.index)


def test_a_row_over_its_token_budget_is_an_error():
    with pytest.raises(ValueError, match="row 0 is planned over its budget of 6 tokens"):
        pack(
            [[_scene_tokens(TWO_SHOTS, 1.0)]],
            video_tokens=6,
            text_tokens=9,
            channels=2,
            text_width=3,
        )


def test_packing_keeps_every_value_of_mixed_scenes():
    scenes = make_scenes()
    batch = pack_scenes([[scenes["trio"], scenes["full_text"]]]).batch
    clean = [patchify(latent, TINY.backbone.patch) for latent in scenes["trio"].clean]
    np.testing.assert_array_equal(batch.video.value[0, 1:15], np.concatenate(clean))
    np.testing.assert_array_equal(batch.text.value[0, 10:18], scenes["full_text"].prompts[0])
