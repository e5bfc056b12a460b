"""The mask, as pictures drawn by hand, and attention under it, padding included."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_attention import TOLERANCES, check_random_rows, compile_comparison, draw_index

from lct_jax.attention import blocks, chunked, mosaic, splash, triton
from lct_jax.attention.attend import attend
from lct_jax.attention.chunked import merge
from lct_jax.attention.mask import find_spans, visible
from lct_jax.config import LayoutConfig
from lct_jax.layout import GroupPlan, ScenePlan, SceneTokens, lay_out, pack
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
    """Returns the index of text, then video tokens of one row."""
    row = []
    for plan in plans:
        layout = lay_out(plan, layout=LayoutConfig(scene_span=2, shot_span=2))
        sizes = (len(layout.video.shot), 1), (len(layout.text.shot), 1)
        row.append(SceneTokens(*(np.ones(size, np.float32) for size in sizes), layout))
    batch = pack([row], video_tokens=video, text_tokens=text, channels=1, text_width=1)
    leaves = zip(batch.text.index, batch.video.index, strict=True)
    return TokenIndex(*(np.concatenate(pair, axis=1) for pair in leaves))


def _draw(seen_BLM: jax.Array) -> list[str]:
    return ["".join("#" if see else "." for see in line) for line in np.asarray(seen_BLM[0])]


def test_full_context_mask_of_a_scene():
    index = _index([TWO_SHOTS], video=7, text=4)
    assert _draw(visible(index, index, "full")) == SCENE_FULL


def test_causal_context_mask_of_a_scene():
    index = _index([TWO_SHOTS], video=7, text=4)
    assert _draw(visible(index, index, "causal")) == SCENE_CAUSAL


@pytest.mark.parametrize("context", ["full", "causal"])
def test_mask_of_a_single_shot_is_full(context):
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


def test_attention_equals_literal_numbers():
    index = _index([ScenePlan(None, (GroupPlan(1, (1, 1, 1)),))], video=2, text=1)
    zero, one = [0.0] * 4, [1.0] * 4
    q_BHLK = jnp.array([[[zero, one, one]]])
    k_BHMK = jnp.array([[[zero, [np.log(3.0) / 2] * 4, one]]])
    v_BHMK = jnp.array([[[zero, [4.0, 8.0, 12.0, 16.0], [99.0] * 4]]])
    out = attend(q_BHLK, k_BHMK, v_BHMK, spans=find_spans(index, index, "full")).value
    # The first query weighs both keys equally; the second scores 0 and 4 * log(3) / 2 / sqrt(4) = log 3.
    expected = [[2.0, 4.0, 6.0, 8.0], [3.0, 6.0, 9.0, 12.0], zero]
    np.testing.assert_allclose(out[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("plans", [[TWO_SHOTS], []], ids=["some padding", "all padding"])
@pytest.mark.parametrize("context", ["full", "causal"])
def test_padding_queries_give_zeros_and_finite_gradients(plans, context):
    index = _index(plans, video=9, text=6)
    padding = index.scene[0] == 0
    rng = np.random.default_rng(0)
    q, k, v, weight = (jnp.asarray(rng.normal(size=(1, 2, 15, 4)), jnp.float32) for _ in range(4))

    def mixed(q, k, v):
        return attend(q, k, v, spans=find_spans(index, index, context)).value

    out = mixed(q, k, v)
    assert not np.asarray(out)[:, :, padding].any()
    assert np.asarray(out)[:, :, ~padding].all()
    gradients = jax.grad(lambda *qkv: (weight * mixed(*qkv)).sum(), argnums=(0, 1, 2))(q, k, v)
    for gradient in map(np.asarray, gradients):
        assert np.isfinite(gradient).all()
        assert not gradient[:, :, padding].any()
        assert gradient[:, :, ~padding].any() == (not padding.all())


@pytest.fixture
def small_blocks(monkeypatch):
    """Makes blocks so small that a tiny sequence has many of them, some of which no query sees."""
    monkeypatch.setattr(chunked, "QUERY_BLOCK", 8)
    monkeypatch.setattr(chunked, "KEY_BLOCK", 6)
    monkeypatch.setattr(splash, "BLOCK", blocks.LANES)
    monkeypatch.setattr(mosaic, "BLOCK", blocks.LANES)
    monkeypatch.setattr(triton, "BLOCK", 16)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kernel", ["chunked", "mosaic", "splash", "triton"])
def test_kernels_equal_dense_attention(kernel, dtype, small_blocks):
    """One program takes boundaries and context at run time; lengths are no multiple of blocks, and keys outnumber
    queries.

    Values, log-sum-exp, and gradients of both are compared.
    """
    rng = np.random.default_rng(0)
    run = lambda q, k, v, spans: attend(q, k, v, spans=spans, kernel=kernel)
    both = compile_comparison(run, dtype)
    for scope in ("full", "causal") * 3:
        check_random_rows(
            both, rng, queries=150, keys=300, scope=scope, tolerance=TOLERANCES[dtype]
        )
    assert both._cache_size() == 1


@pytest.mark.parametrize("context", ["full", "causal"])
def test_key_intervals_equal_the_mask(context):
    rng = np.random.default_rng(1)
    query, key = (draw_index(rng, rows=3, length=length) for length in (17, 30))
    spans = jax.tree.map(np.asarray, find_spans(query, key, context))
    place = np.arange(30)
    seen = (spans.start[..., None] <= place) & (place < spans.end[..., None])
    sorted_mask = np.take_along_axis(
        np.take_along_axis(
            np.asarray(visible(query, key, context)), spans.query.order[..., None], 1
        ),
        spans.key.order[:, None],
        2,
    )
    np.testing.assert_array_equal(seen, sorted_mask)
    for there, back in (spans.query, spans.key):
        np.testing.assert_array_equal(np.take_along_axis(there, back, 1), np.sort(there, 1))


def test_invisible_key_blocks_are_not_read(small_blocks):
    """A NaN key would spread to every output that its block is used for."""
    q, k, v = (jnp.ones((1, 1, 16, 4)) for _ in range(3))
    start, end = np.repeat([[0, 12]], 8, axis=1), np.repeat([[6, 16]], 8, axis=1)
    v = v.at[:, :, 6:12].set(jnp.nan)  # the second of three blocks of six
    value = chunked.attend_chunked(q, k, v, start, end).value
    np.testing.assert_array_equal(value, np.ones((1, 1, 16, 4)))


def test_merge_equals_attention_over_both_sets_of_keys():
    rng = np.random.default_rng(2)
    query, key = (draw_index(rng, rows=2, length=length) for length in (12, 20))
    q, k, v = (rng.normal(size=(2, 2, n, 4)).astype(np.float32) for n in (12, 20, 20))
    parts = [
        attend(q, k[:, :, s], v[:, :, s], spans=find_spans(query, _slice(key, s), "causal"))
        for s in (slice(0, 7), slice(7, 20))
    ]
    whole = attend(q, k, v, spans=find_spans(query, key, "causal"))
    for found, expected in zip(merge(*parts), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def _slice(index: TokenIndex, part: slice) -> TokenIndex:
    return TokenIndex(*(leaf[:, part] for leaf in index))


# The largest array of each: a tile of scores, or the tile of a kernel that is interpreted here (filled to 16 wide).
LARGEST = {
    "chunked": chunked.QUERY_BLOCK * chunked.KEY_BLOCK,
    "mosaic": mosaic.BLOCK * mosaic.COMPUTE,
    "splash": splash.BLOCK * splash.BLOCK,
    "triton": 4096 * triton.SMALLEST_WIDTH,
}


@pytest.mark.parametrize("kernel", LARGEST)
def test_compiled_attention_has_no_array_of_all_pairs(kernel):
    """At 4,096 tokens no array in the compiled forward and backward pass has one number for each pair of tokens."""
    length = 4096
    index = TokenIndex(*(np.ones((1, length), np.int32),) * 3, np.zeros((1, length, 3), np.int32))
    x = jnp.zeros((1, 1, length, 8))
    spans = find_spans(index, index, "full")
    mixed = lambda q, k, v: attend(q, k, v, spans=spans, kernel=kernel).value.sum()
    text = jax.jit(jax.grad(mixed, argnums=(0, 1, 2))).lower(x, x, x).compile().as_text()
    sizes = [
        np.prod([int(side) for side in shape.split(",")])
        for shape in re.findall(r"(?:f32|s32|pred|bf16)\[([\d,]+)\]", text)
    ]
    assert max(sizes) == LARGEST[kernel] < length**2
