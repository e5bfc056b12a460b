"""Plans from shapes, compared with literal numbers of a tiny model and with the rule that places parameters."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from scenes import TINY

from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.backbones.registry import count_costs
from lct_jax.cli import load_config
from lct_jax.config import ComputeConfig, Config, DataConfig, freeze
from lct_jax.config.network import make_network, put, sections
from lct_jax.costs.chips import CHIPS, GIB
from lct_jax.costs.flops import Kernel, count_attention, count_computed, count_useful
from lct_jax.costs.recompute import POLICIES
from lct_jax.errors import InputError
from lct_jax.layout import GroupPlan, ScenePlan
from lct_jax.plan.advice import advise_training
from lct_jax.plan.collectives import Collective
from lct_jax.plan.links import Shards
from lct_jax.plan.parameters import place_parameters
from lct_jax.plan.quantities import name_seconds
from lct_jax.plan.report import answer_fit, describe_collectives, describe_training, to_json
from lct_jax.plan.search import find_larger, search
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.training import plan_training
from lct_jax.plan.workload import SceneTarget, find_grid, make_workload, parse_aspect

ROOT = Path(__file__).parents[1]
BIG = Config(
    name="big",
    data=DataConfig(rows=64, video_tokens=259_328, text_tokens=3_072, groups=48),
    compute=ComputeConfig(seq_shards=16, remat="block"),
)


def test_a_full_shot_and_a_scene_of_nine():
    work = make_workload(BIG, SceneTarget())
    assert (work.frames, work.height, work.width) == (125, 480, 480)
    assert work.shot_tokens == 32 * 30 * 30
    assert (work.scene_video, work.scene_text) == (9 * 28_800 + 1, 256 + 9 * 128)
    assert work.scenes == 1


def test_a_scene_target_changes_sizes_and_how_many_scenes_a_row_holds():
    work = make_workload(BIG, SceneTarget(shots=1, frames=61, aspect=16 / 9))
    assert (work.height, work.width) == (352, 640)  # multiples of 16 near 360 x 640
    assert (work.shot_tokens, work.scene_text) == (16 * 22 * 40, 128)
    assert work.scenes == 259_328 // 14_080 == 18
    assert find_grid(BIG, SceneTarget(frames=1))[3] == (1, 30, 30)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (SceneTarget(frames=124), "--frames: found 124, expected 4n + 1"),
        (
            SceneTarget(shots=10),
            "data.video_tokens: found 259328, expected at least 288001 for such a scene",
        ),
    ],
)
def test_an_impossible_scene_target_is_refused(target, message):
    with pytest.raises(InputError, match=message.replace("+", r"\+")):
        make_workload(BIG, target)


def test_aspect_ratios_are_parsed():
    assert parse_aspect("16:9") == pytest.approx(16 / 9)
    assert parse_aspect("1.5") == 1.5
    for text in ("wide", "16:9:1", "0:1", "-1"):
        with pytest.raises(InputError, match="--aspect: found"):
            parse_aspect(text)


def test_block_pairs_equal_those_counted_on_the_whole_mask():
    """Two scenes and padding; a block counts if it is between the first and last key that any of its queries sees."""
    scenes, length, kernel = [[5, 7, 4], [3, 9]], 40, Kernel(query_block=4, key_block=8, backward=5)
    plans = [ScenePlan(None, tuple(GroupPlan(1, (1, 1, n - 1)) for n in s)) for s in scenes]
    for context in ("full", "causal"):
        seen = np.zeros((length, length), bool)
        at = 0
        for groups in scenes:
            shot = np.repeat(np.arange(len(groups)), groups)
            rows = slice(at, at + len(shot))
            seen[rows, rows] = True if context == "full" else shot[None] <= shot[:, None]
            at += len(shot)
        blocks = 0
        for first in range(0, length, 4):
            keys = np.flatnonzero(seen[first : first + 4].any(0))
            blocks += len(keys) and keys[-1] // 8 - keys[0] // 8 + 1
        found = count_computed(
            count_costs(TINY), plans, video=30, text=10, slots=5, context=context, kernel=kernel,
            again=POLICIES["none"].again,
        )  # fmt: skip
        assert found.attention == count_attention(count_costs(TINY), blocks * 4 * 8) * (1 + 5 / 2)


def test_flops_of_a_step_by_hand():
    """One block of width 8 with one head of 6 has one shot of 6 video and 2 text tokens in a row of 8 and 4."""
    model = make_network(
        width=8, depth=1, heads=1, head_dim=6, channels=2, patch=(1, 1, 1), text_width=3,
        rope_split=(2, 2, 2), time_features=2, scene_span=2, shot_span=2,
    )  # fmt: skip
    scene = ScenePlan(None, (GroupPlan(2, (1, 2, 3)),))
    a_token = 4 * 8 * 6 + 2 * 4 * 8 * 8  # q k v o, and the MLP up and down
    of_time = 8 * (2 + 8 + 2 * 6 * 8 + 2 * 8)
    useful = count_useful(count_costs(model), scene, context="full")
    assert useful.linear == 3 * 2 * (a_token * 8 + 2 * 2 * 8 * 6 + 3 * 8 * 2 + of_time)
    assert useful.attention == 3 * (2 * 2 * 6) * 8 * 8
    computed = count_computed(
        count_costs(model), [scene], video=8, text=4, slots=3, context="full",
        kernel=Kernel(query_block=4, key_block=12, backward=7), again=POLICIES["block"].again,
    )  # fmt: skip
    assert computed.linear == 4 * 2 * (a_token * 12 + 2 * 2 * 8 * 8 + 3 * 8 * 4 + of_time * 3)
    # The eight tokens are in two blocks of queries and one of keys: 2 + 2 (recomputed) + 7 products of 4 x 12 pairs.
    assert computed.attention == (2 + 2 + 7) * (2 * 6) * 2 * (4 * 12)


def test_parameters_are_placed_by_the_rule_of_training():
    """The bytes of a device follow from the shapes of the model: every leaf here is small or divides by four."""
    leaves = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: MMDiT(TINY, rngs=nnx.Rngs(0)))))
    one, four = (place_parameters(TINY, shards) for shards in (Shards(1, 1), Shards(4, 2)))
    assert one.count == four.count == sum(leaf.size for leaf in leaves)
    assert one.params == one.ema == 4 * one.count
    # Two moments, and the steps that Adam and its schedule count.
    assert one.optimiser == 2 * 4 * one.count + 2 * 4
    shared = [
        x.size // (4 if x.size >= 4096 and any(s % 4 == 0 for s in x.shape) else 1) for x in leaves
    ]
    assert four.params == 4 * sum(shared) < one.params


def test_a_plan_of_the_paper_size_by_hand():
    plan = plan_training(BIG, parse_topology("v5p:4x4x4"), SceneTarget(), steps=86_400)
    assert plan.shards == (4, 16)
    count, parts = plan.parameters.count, plan.memory.parts
    # Small leaves are replicated, so the bytes are not exactly a quarter.
    assert parts["parameters"] == pytest.approx(4 * count / 4, rel=1e-3)
    assert parts["optimiser"] == pytest.approx(2 * parts["parameters"], rel=1e-6)
    sent = {(c.kind, c.axis): c for c in plan.collectives}
    # 16 rows of 262,400 tokens over 16 devices, in bfloat16: forward, recomputed and backward, 15 of 16 parts are sent.
    tokens = 16 * 262_400 / 16
    assert sent["all-to-all", "seq"].sent == 3 * 4 * 28 * tokens * 2048 * 2 * 15 / 16
    assert sent["all-to-all", "seq"].count == 3 * 4 * 28
    # In bfloat16 but for what is outside of the blocks.
    inside = plan.parameters.blocks
    assert sent["reduce-scatter", "data"].sent == (2 * inside + 4 * (count - inside)) * 3 / 4
    assert plan.work.useful.attention == pytest.approx(64 * 3 * 4 * 28 * 2048 * 260_609**2)
    assert plan.roofline.compute == plan.work.computed.total / (64 * 459e12)
    assert plan.roofline.step == max(plan.roofline)
    assert plan.mfu == pytest.approx(plan.work.useful.total / (plan.roofline.step * 64 * 459e12))
    assert plan.days == pytest.approx(plan.roofline.step)


def test_a_plan_is_printed_as_text_and_as_json():
    plan = plan_training(BIG, parse_topology("v5p:4x4x4"), SceneTarget(), steps=1_000)
    text = describe_training(plan, advice=[])
    assert "28,800 video tokens" in text
    assert answer_fit(plan.memory.total, plan.topology) in text
    read = json.loads(json.dumps(to_json(plan)))
    assert read["total"] == plan.memory.total == sum(read["memory"]["parts"].values())
    assert (read["fits"], read["steps"]) == (plan.fits, 1_000)


def test_a_small_plan_has_units_in_which_it_is_not_nought():
    small = freeze(load_config(str(ROOT / "configs/film_tiny.py")))
    plan = plan_training(small, parse_topology("v5e:1x1"), SceneTarget(), steps=240)
    text = describe_training(plan, advice=[])
    assert "  parameters               7.5 million in" in text
    assert f"{plan.work.computed.total / 1e9:.1f} GFLOP: linear" in text
    assert f"240 steps: at least {plan.days * 86_400:.1f} seconds" in text
    assert f"a step: at least {plan.roofline.step * 1e3:.2f} ms, limited by " in text
    assert f"(compute {plan.roofline.compute * 1e3:.2f}, memory " in text


def test_times_have_the_unit_of_the_first():
    assert name_seconds(127.094, 0.01) == ["127.09", "0.01", "s"]
    assert name_seconds(0.1) == ["0.10", "s"]
    assert name_seconds(0.0994, 0.00043) == ["99.40", "0.43", "ms"]
    assert name_seconds(4.2e-6, 0.0) == ["4.20", "0.00", "us"]
    assert name_seconds(0.0) == ["0.00", "us"]


def test_small_collectives_are_reported_in_one_line():
    plan = plan_training(BIG, parse_topology("v5p:4x4x4"), SceneTarget(), steps=1_000)
    found = [
        Collective("all-gather", "weights", "data", 3, 2.0 * GIB, 0.5),
        Collective("all-to-all", "keys", "seq", 5, 8.0 * GIB, 1.5),
        Collective("all-gather", "x" * 100, "data", 1, 1.0 * GIB, 0.1),
        *(Collective("all-reduce", str(n), "seq", n, 0.01 * GIB, 0.25) for n in (1, 2)),
    ]
    lines = describe_collectives(dataclasses.replace(plan, collectives=found))[1:-1]
    assert [line.split() for line in lines] == [
        ["all-to-all", "over", "seq", *["5", "of", "keys", "8.00", "GiB", "1.500", "s"]],
        ["all-gather", "over", "data", *["3", "of", "weights", "2.00", "GiB", "0.500", "s"]],
        ["all-gather", "over", "data", *f"1 of {'x' * 69}... 1.00 GiB 0.100 s".split()],
        ["smaller", "ones", *["3", "of", "2", "more", "kinds", "0.02", "GiB", "0.500", "s"]],
    ]


def test_a_plan_that_does_not_fit_gives_advice():
    v6e = parse_topology("v6e:2x2")
    assert answer_fit(21.3 * GIB, v6e) == "fits: 21.3 of 31.2 GiB a device"
    text = answer_fit(40.0 * GIB, v6e, advice=["fits here with --x"])
    assert text == "does not fit: 40.0 of 31.2 GiB a device\n  fits here with --x"


def test_the_search_finds_settings_that_fit_and_larger_slices():
    small = dataclasses.replace(BIG, data=dataclasses.replace(BIG.data, rows=4))
    options = search(small, parse_topology("v5p:2x2x1"), SceneTarget())
    assert options and all(o.memory <= CHIPS["v5p"].usable for o in options)
    assert [o.seconds for o in options] == sorted(o.seconds for o in options)
    best = dataclasses.replace(
        small,
        compute=ComputeConfig(remat=options[0].remat, seq_shards=options[0].seq),
        training=dataclasses.replace(small.training, accumulate=options[0].accumulate),
    )
    assert (
        plan_training(best, parse_topology("v5p:2x2x1"), SceneTarget(), steps=1).memory.total
        == options[0].memory
    )
    assert search(BIG, parse_topology("v5e:2x2"), SceneTarget()) == []
    topology, option = find_larger(BIG, parse_topology("v5e:2x2"), SceneTarget())
    assert topology.chips > 4 and option.memory <= CHIPS["v5e"].usable


def test_where_no_setting_fits_a_lora_and_a_larger_slice_are_named_with_their_rows():
    shipped = freeze(load_config(str(ROOT / "configs/wan_1_3b.py")))
    config = put(shipped, seq_shards=1)
    small, target = parse_topology("v5e:1x1"), SceneTarget(shots=1)
    plan = plan_training(config, small, target, steps=1)
    rest, lora, larger = advise_training(plan, target, [])
    assert rest.endswith("weights, their states and gradients take 31.7 GiB")
    assert lora.startswith("fits on v5e:1x1 with a LoRA, and 1 shot of 1 in a row: --config.lora")
    assert larger.startswith("fits on v5e:2x2 with a scene in a row: --config.data.rows=4 ")
    # What is named fits when it is asked for.
    sizes = {
        name.removeprefix("--config.data."): int(value)
        for name, _, value in (flag.partition("=") for flag in larger.split())
        if name.startswith("--config.data.")
    }
    asked = dataclasses.replace(config, data=dataclasses.replace(config.data, **sizes))
    asked = put(asked, remat=larger.partition("remat=")[2].split()[0])
    assert plan_training(asked, parse_topology("v5e:2x2"), target, steps=1).fits


def test_a_mesh_that_does_not_divide_is_refused():
    for topology, change, message in (
        (
            "v5p:2x2x1",
            {"seq_shards": 3},
            "compute.seq_shards: found 3 over the 4 devices of v5p:2x2x1, expected a divisor, such as "
            "--config.compute.seq_shards=1",
        ),
        (
            "v5p:4x4x4",
            {"seq_shards": 64},
            "backbone.heads: found 16, expected a multiple of 64 on this mesh",
        ),
        (
            "v5p:4x4x4",
            {"seq_shards": 16, "accumulate": 32},
            "data.rows: found 64, expected a multiple of 128 on this mesh",
        ),
    ):
        accumulate = change.pop("accumulate", 1)
        config = dataclasses.replace(
            BIG,
            compute=dataclasses.replace(BIG.compute, **change),
            training=dataclasses.replace(BIG.training, accumulate=accumulate),
        )
        with pytest.raises(InputError) as caught:
            plan_training(config, parse_topology(topology), SceneTarget(), steps=1)
        assert str(caught.value) == message


def test_a_cpu_has_memory_and_no_published_peak():
    config = Config(name="tiny", **sections(TINY), data=DataConfig(rows=8, video_tokens=64_000))
    plan = plan_training(config, parse_topology("cpu:8"), SceneTarget(shots=1, frames=5), steps=10)
    assert (plan.roofline, plan.mfu, plan.days) == (None, None, None)
    assert plan.fits
    assert "none is said" in describe_training(plan, advice=[])
