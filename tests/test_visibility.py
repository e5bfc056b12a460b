"""Tables that say which shot sees which: by literal masks, and in a network against a plain one in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from reference import scene_velocity
from scenes import FAMILIES, TINY, TinyModel, make_scene, pack_scenes, split_scenes, to_reference

from lct_jax.attention.visibility import TableKeys, find_bias
from lct_jax.layout import unpatchify
from lct_jax.types import TokenIndex, Visibility

HIDDEN = -np.inf
# Group 0, then three shots: 1 sees 2 with a weight of a half, 3 sees 1 and 2, 2 sees nobody.
BIAS_GG = np.array(
    [
        [0.0, HIDDEN, HIDDEN, HIDDEN],
        [HIDDEN, 0.0, np.log(0.5), HIDDEN],
        [HIDDEN, HIDDEN, 0.0, HIDDEN],
        [HIDDEN, 0.0, 0.0, 0.0],
    ],
    np.float32,
)


def make_keys(shot: list[int], video: list[int], shown: list[int], asks: list[int]) -> TableKeys:
    """Returns the keys of one row; a shot of -1 is padding."""
    shot_BL = np.array([shot])
    scene = np.where(shot_BL < 0, 0, 1)
    index = TokenIndex(scene, np.maximum(shot_BL, 0), shot_BL, np.zeros((*shot_BL.shape, 3)))
    flags = lambda values: np.array(values, bool)
    tables = Visibility(jnp.asarray(BIAS_GG), jnp.asarray(flags(asks)), None)
    return TableKeys(
        jax.tree.map(jnp.asarray, index), flags([shown]), jnp.asarray(flags([video])), tables
    )


def see(keys: TableKeys, layer: int) -> list[str]:
    """Returns a line a query: "1" for a key that is seen, "h" for one with the weight of a half, "." for none."""
    bias_LM = np.asarray(find_bias(keys, jnp.int32(layer)))[0]
    name = {0.0: "1", float(np.float32(np.log(0.5))): "h", HIDDEN: "."}
    return ["".join(name[float(value)] for value in row) for row in bias_LM]


def test_what_each_token_sees_by_a_literal_mask():
    # The tokens are: text of group 0, text and video of shot 1, two videos of shot 2 (the second is not shown), text
    # and video of shot 3, padding.
    keys = make_keys(
        [0, 1, 1, 2, 2, 3, 3, -1], [0, 0, 1, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0, 1, 0], [1, 0]
    )
    assert see(keys, 0) == [
        "1111111.",
        "111.....",
        "111h....",
        "1..11...",
        "1..11...",
        "1....11.",
        "1.11.11.",
        "........",
    ]
    # In a block that does not ask, a shot sees itself and group 0.
    assert see(keys, 1) == [
        "1111111.",
        "111.....",
        "111.....",
        "1..11...",
        "1..11...",
        "1....11.",
        "1....11.",
        "........",
    ]


def run(model: TinyModel, packed, visibility: Visibility) -> np.ndarray:
    """Returns the velocity of packed scenes, whose groups see each other by tables."""
    video, time_BS = packed.batch.video, packed.added.time
    time_BL1 = np.take_along_axis(time_BS, video.index.slot, axis=1)[..., None]
    noisy = ((1 - time_BL1) * video.value + time_BL1 * packed.added.noise).astype(np.float32)
    network = nnx.merge(model.graph, model.params)
    arguments = (video._replace(value=noisy), packed.batch.text, time_BS)
    call = jax.jit(lambda tables, *inputs: network(*inputs, context=tables).velocity)
    return np.asarray(call(visibility, *arguments))


def test_a_network_with_tables_equals_a_plain_one_that_gathers_keys_one_by_one():
    shots = [(2, (1, 2, 2), 0.25), (3, (1, 1, 2), 0.875), (1, (1, 1, 3), 0.5)]
    scene, model = make_scene(5, shots=shots, global_text=3), TinyModel(TINY)
    packed = pack_scenes([[scene]])
    # The dummy, then four, two and three video tokens, then padding.
    shown = [1, 1, 0, 1, 1, 0, 1, 1, 1, 0]
    shown_1L = np.zeros((1, packed.batch.video.value.shape[1]), bool)
    shown_1L[0, : len(shown)] = shown
    asks_N = np.array([False, True])
    found_LC = run(model, packed, Visibility(BIAS_GG, asks_N, shown_1L))[0]

    shown_of = {1: [1, 0, 1, 1], 2: [0, 1], 3: [1, 1, 1]}

    def weigh(layer, query, key, place):
        """Returns the weight of a key, 0 where it is not seen; `place` is its number in the video of its shot."""
        if query.group == key.group or 0 in (query.group, key.group):
            return 1.0
        if layer == 0 or (query.stream, key.stream) != ("video", "video"):
            return 0.0
        seen = {(1, 2): 0.5, (3, 1): 1.0, (3, 2): 1.0}.get((query.group, key.group), 0.0)
        return seen * shown_of[key.group][place]

    expected = scene_velocity(model.weights, model.config, to_reference(scene), "full", weigh=weigh)
    tokens = np.split(split_scenes(found_LC, [scene])[0], [1, 5, 7])[1:]
    for found, (_, grid, _), wanted in zip(tokens, shots, expected, strict=True):
        latent = unpatchify(found, grid, TINY.backbone.patch)
        np.testing.assert_allclose(latent, wanted, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_shots_that_the_tables_name_are_heard_of(family: str):
    """Of every family: a shot that is changed changes those that see it, and no other by a bit."""
    config = FAMILIES[family]
    shots = [(2, (1, 2, 2), 0.25), (3, (1, 1, 2), 0.875), (1, (1, 1, 3), 0.5)]
    scene, model = make_scene(5, shots=shots, config=config), TinyModel(config)
    packed = pack_scenes([[scene]], config=config)
    tables = Visibility(BIAS_GG, np.ones(2, bool), np.ones((1, 1), bool))
    before = run(model, packed, tables)[0]
    video = packed.batch.video
    hears = {1: {1, 3}, 2: {1, 2, 3}, 3: {3}}
    for changed, expected in hears.items():
        here = (video.index.shot[0] == changed) & (video.index.scene[0] > 0)
        kept = video.value[0, here].copy()
        video.value[0, here] += 1.0
        after = run(model, packed, tables)[0]
        video.value[0, here] = kept
        differs = np.abs(after - before).max(axis=1) > 0
        real = video.index.scene[0] > 0
        assert {int(shot) for shot in video.index.shot[0][differs & real]} == expected
