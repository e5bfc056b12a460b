"""What sees what, as pictures drawn by hand, and attention over it, padding included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lct_jax.layout import GroupPlan, ScenePlan, SceneTokens, Spans, lay_out, pack
from lct_jax.model.attention import attend, visible
from lct_jax.types import TokenIndex

# A scene with a global prompt, a wide still and a tall clip; then one shot without a global prompt.
TWO_SHOTS = ScenePlan(2, (GroupPlan(1, (1, 1, 2)), GroupPlan(1, (2, 2, 1))))
ONE_SHOT = ScenePlan(None, (GroupPlan(2, (1, 2, 1)),))

# Tokens: text g g 1 2, video d 1 1 2 2 2 2.
SCENE_FULL = ["###########"] * 11
SCENE_CAUSAL = [
    "##..#......",  # g, and so the dummy: the global prompt sees itself
    "##..#......",
    "###.###....",  # 1
    "###########",  # 2
    "##..#......",  # d
    "###.###....",
    "###.###....",
    "###########",
    "###########",
    "###########",
    "###########",
]
# Both scenes and padding in one row. Text: g g 1 2 | 1 1 | -, video: d 1 1 2 2 2 2 | 1 1 | -.
ROW_CAUSAL = [
    "##.....#.........",
    "##.....#.........",
    "###....###.......",
    "####...#######...",
    "....##........##.",
    "....##........##.",
    ".................",
    "##.....#.........",
    "###....###.......",
    "###....###.......",
    "####...#######...",
    "####...#######...",
    "####...#######...",
    "####...#######...",
    "....##........##.",
    "....##........##.",
    ".................",
]


def _index(plans: list[ScenePlan], *, video: int, text: int) -> TokenIndex:
    """Index of text then video tokens of one row."""
    row = []
    for plan in plans:
        layout = lay_out(plan, spans=Spans(2, 2))
        sizes = (len(layout.video.shot), 1), (len(layout.text.shot), 1)
        row.append(SceneTokens(*(np.ones(size, np.float32) for size in sizes), layout))
    batch = pack([row], video_tokens=video, text_tokens=text, channels=1, text_width=1)
    leaves = zip(batch.text.index, batch.video.index, strict=True)
    return TokenIndex(*(np.concatenate(pair, axis=1) for pair in leaves))


def _draw(seen_BLM: jax.Array) -> list[str]:
    return ["".join("#" if see else "." for see in line) for line in np.asarray(seen_BLM[0])]


def test_a_scene_sees_all_of_itself_in_full_context():
    index = _index([TWO_SHOTS], video=7, text=4)
    assert _draw(visible(index, index, "full")) == SCENE_FULL


def test_a_group_sees_itself_and_earlier_groups_in_causal_context():
    index = _index([TWO_SHOTS], video=7, text=4)
    assert _draw(visible(index, index, "causal")) == SCENE_CAUSAL


@pytest.mark.parametrize("context", ["full", "causal"])
def test_a_single_shot_sees_all_of_itself(context):
    index = _index([ONE_SHOT], video=2, text=2)
    assert _draw(visible(index, index, context)) == ["####"] * 4


def test_scenes_of_a_row_and_padding_do_not_see_each_other():
    index = _index([TWO_SHOTS, ONE_SHOT], video=10, text=7)
    assert _draw(visible(index, index, "causal")) == ROW_CAUSAL
    first, second = "####...#######...", "....##........##."
    full = [*[first] * 4, *[second] * 2, "." * 17, *[first] * 7, *[second] * 2, "." * 17]
    assert _draw(visible(index, index, "full")) == full


def test_queries_and_keys_may_be_different_tokens():
    index = _index([TWO_SHOTS], video=7, text=4)
    shot_1 = TokenIndex(*(leaf[:, [2, 5, 6]] for leaf in index))
    shot_2 = TokenIndex(*(leaf[:, [3, 7]] for leaf in index))
    assert _draw(visible(shot_1, shot_2, "causal")) == [".."] * 3
    assert _draw(visible(shot_2, shot_1, "causal")) == ["###"] * 2


def test_attends_in_literal_numbers():
    index = _index([ScenePlan(None, (GroupPlan(1, (1, 1, 1)),))], video=2, text=1)
    zero, one = [0.0] * 4, [1.0] * 4
    q_BHLK = jnp.array([[[zero, one, one]]])
    k_BHMK = jnp.array([[[zero, [np.log(3.0) / 2] * 4, one]]])
    v_BHMK = jnp.array([[[zero, [4.0, 8.0, 12.0, 16.0], [99.0] * 4]]])
    out = attend(q_BHLK, k_BHMK, v_BHMK, query=index, key=index, context="full")
    # The first query is indifferent; the second scores 0 and 4 * log(3) / 2 / sqrt(4) = log 3.
    expected = [[2.0, 4.0, 6.0, 8.0], [3.0, 6.0, 9.0, 12.0], zero]
    np.testing.assert_allclose(out[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("plans", [[TWO_SHOTS], []], ids=["some padding", "all padding"])
@pytest.mark.parametrize("context", ["full", "causal"])
def test_padding_gives_zeros_and_finite_gradients(plans, context):
    index = _index(plans, video=9, text=6)
    padding = index.scene[0] == 0
    rng = np.random.default_rng(0)
    q, k, v, weight = (jnp.asarray(rng.normal(size=(1, 2, 15, 4)), jnp.float32) for _ in range(4))

    def mixed(q, k, v):
        return attend(q, k, v, query=index, key=index, context=context)

    out = mixed(q, k, v)
    assert not np.asarray(out)[:, :, padding].any()
    assert np.asarray(out)[:, :, ~padding].all()
    gradients = jax.grad(lambda *qkv: (weight * mixed(*qkv)).sum(), argnums=(0, 1, 2))(q, k, v)
    for gradient in map(np.asarray, gradients):
        assert np.isfinite(gradient).all()
        assert not gradient[:, :, padding].any()
        assert gradient[:, :, ~padding].any() == (not padding.all())
