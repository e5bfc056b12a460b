"""Tests the cost of a scene in every mode: the ratios of nine equal shots, and one extension against the compiler."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lct_jax.attention import chunked
from lct_jax.backbones.registry import build_abstract, count_costs, describe
from lct_jax.config import SamplingConfig
from lct_jax.config.network import make_network
from lct_jax.costs.flops import Flops, count_extension
from lct_jax.layout import GroupPlan
from lct_jax.plan.scenes import MODES, count_cache, count_scene, make_request
from lct_jax.sampling.euler import time_grid
from lct_jax.types import History, TokenIndex, Tokens

MODEL = make_network()
PLAIN = SamplingConfig(steps=1, cache="reuse")


def make(shots: int, *, text: int = 0, scene_text: int = 0):
    return make_request(
        shots, grid=(32, 30, 30), text=text, scene_text=scene_text, width=1, channels=64
    )


@pytest.mark.parametrize("mode", MODES)
def test_nine_equal_shots_without_text_and_renoising(mode):
    """In units of one shot, attention is 9 : 81 : 285 : 45 and linear work 9 : 9 : 45 : 9 (METHOD of the paper)."""
    expected = {
        "independent": (9, 9),
        "joint": (81, 9),
        "autoregressive": (285, 45),
        "causal": (45, 9),
    }
    [one] = count_scene(count_costs(MODEL), make(1), PLAIN, "independent")
    costs = count_scene(count_costs(MODEL), make(9), PLAIN, mode)
    attention = sum(cost.flops.attention for cost in costs) / one.flops.attention
    linear = sum(cost.flops.linear for cost in costs) / one.flops.linear
    assert (attention, linear) == pytest.approx(expected[mode])


def test_text_and_renoising_add_to_the_causal_row():
    plain = SamplingConfig(cache="reuse")
    costs = [
        count_scene(count_costs(MODEL), make(3, text=10, scene_text=20), config, "causal")
        for config in (plain, SamplingConfig())
    ]
    assert [cost.passes for cost in costs[0]] == [32, 32, 32]
    assert [cost.passes for cost in costs[1]] == [33, 33, 32]  # no shot sees the last one
    assert costs[1][1].flops.attention == pytest.approx(costs[0][1].flops.attention * 33 / 32)
    # Both branches count: prompts of 20 + 1 and 28,810, negative ones of 10 + 1 and 28,805 tokens.
    assert costs[0][1].cached == 32 * (21 + 28_810 + 11 + 28_805)


@pytest.mark.parametrize("mode", MODES)
def test_steps_without_guidance_cost_the_prompted_row_alone(mode):
    """Of three of four steps, the row of a negative prompt that is as long as the other one is not computed."""
    config = SamplingConfig(steps=4, cache="reuse", guidance_from=0.9)
    text, times = make(2), time_grid(4, 1.0)
    both = count_scene(count_costs(MODEL), text, config, mode)
    most = count_scene(count_costs(MODEL), text, config, mode, times=times)
    for one, other in zip(both, most, strict=True):
        assert other.flops.total == pytest.approx(one.flops.total * 5 / 8)
        assert (other.single, other.passes, other.cached) == (3, 4, one.cached * 5 / 8)


def test_a_row_that_sees_no_history_adds_what_independent_shots_cost():
    """In units of one shot and row; where held shots pass as padding, their linear work is done all the same."""
    config = dataclasses.replace(PLAIN, history_guidance=2.0)
    [one] = count_scene(count_costs(MODEL), make(1), PLAIN, "independent")
    expected = {"joint": (81, 9, 2), "autoregressive": (285 + 8 / 2, 45 + 44 / 2, 3)}
    expected["causal"] = (45 + 9 / 2, 9 + 9 / 2, 3)
    for mode, (attention, linear, rows) in expected.items():
        costs = count_scene(count_costs(MODEL), make(9), config, mode)
        sums = Flops(0.0, 0.0)
        for cost in costs:
            sums = sums.plus(cost.flops)
        found = sums.attention / one.flops.attention, sums.linear / one.flops.linear
        assert found == pytest.approx((attention, linear))
        assert costs[-1].rows == rows


def test_cache_of_eight_full_shots_at_3b():
    """A guidance branch has 53 GB."""
    assert count_cache(describe(MODEL).cache, make(9), 8) / 2 == 2 * 2 * 28 * 2048 * 8 * 28_800
    assert count_cache(describe(MODEL).cache, make(9), 8) / 2 == pytest.approx(52.8e9, rel=0.01)


def test_an_extension_agrees_with_the_compiler(monkeypatch):
    """There is one block and one chunk of queries and of keys, because the compiler counts the body of a loop once.

    As in the count of a whole pass, the text stream's last MLP and output layer are dropped by the compiler.
    """
    monkeypatch.setattr(chunked, "QUERY_BLOCK", 1024)
    monkeypatch.setattr(chunked, "KEY_BLOCK", 1024)
    model = make_network(
        width=256, depth=1, heads=4, head_dim=64, rope_split=(16, 24, 24), text_width=64,
        dtype="float32", remat="none",
    )  # fmt: skip
    group, seen = GroupPlan(40, (2, 10, 10)), 1000

    def tokens(length: int, width: int) -> Tokens:
        shape = lambda *tail: jax.ShapeDtypeStruct((1, length, *tail), jnp.int32)
        index = TokenIndex(scene=shape(), shot=shape(), slot=shape(), coord=shape(3))
        return Tokens(jax.ShapeDtypeStruct((1, length, width), jnp.float32), index)

    kept = jax.ShapeDtypeStruct((1, 1, 4, seen, 64), jnp.float32)
    history = History(kept, kept, jax.ShapeDtypeStruct((1,), jnp.int32))
    graph, params = build_abstract(model)

    def denoise(params, history, *inputs):
        network = nnx.merge(graph, params)
        return network(*inputs, context="full", history=history).velocity

    inputs = (
        tokens(group.video, model.backbone.patch_channels),
        tokens(group.text, model.backbone.text_width),
    )
    time_BS = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    compiled = jax.jit(denoise).lower(params, history, *inputs, time_BS).compile()
    counted = count_extension(count_costs(model), group, seen=seen)
    dropped = 2 * group.text * (1 + 2 * model.backbone.mlp_ratio) * model.backbone.width**2
    assert counted.attention > 0.3 * counted.total
    found = compiled.cost_analysis()["flops"]
    assert counted.total - dropped == pytest.approx(found, rel=0.05)
