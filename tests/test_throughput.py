"""Tokens, fill, FLOPs and MFU of packed and masked work, counted by hand and in another way."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from scenes import FAMILIES, SLOTS, TEXT_TOKENS, TINY, VIDEO_TOKENS, make_scenes, pack_scenes

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config, DataConfig, TrainingConfig
from lct_jax.config.network import sections
from lct_jax.costs.chips import CHIPS
from lct_jax.costs.flops import (
    Kernel,
    Recompute,
    count_attention,
    count_block_pairs,
    count_computed,
    count_linear,
)
from lct_jax.costs.flops import count_useful as count_scene_useful
from lct_jax.costs.step import (
    GroupSizes,
    Program,
    Work,
    count_groups,
    count_useful,
    count_work,
)
from lct_jax.training.report.throughput import DEVICE_KINDS, Throughput, find_chip

SCENES = make_scenes()
ROWS = [[SCENES["trio"], SCENES["full_text"]], [SCENES["single"], SCENES["pair"]], [], []]
BATCH = pack_scenes(ROWS).batch
DATA = DataConfig(rows=4, video_tokens=VIDEO_TOKENS, text_tokens=TEXT_TOKENS, groups=SLOTS)
KERNEL = Kernel(query_block=16, key_block=12, backward=5)
PROGRAM = Program(count_costs(TINY), KERNEL, Recompute(0.0, 0.0), sharing=4)


def make_config(context: str, *, accumulate: int = 1) -> Config:
    training = TrainingConfig(context=context, accumulate=accumulate)
    return Config(name="tiny", **sections(TINY), data=DATA, training=training)


@pytest.fixture(scope="module")
def sizes() -> GroupSizes:
    return jax.device_get(count_groups(BATCH, SLOTS))


def brute_force_pairs(context: str, rows: list[int], kernel: Kernel) -> int:
    """Returns the pairs in blocks from the first to the last seen one, from the whole mask of sorted tokens."""
    length = VIDEO_TOKENS + TEXT_TOKENS
    query = np.arange(length) // -(-length // -(-length // kernel.query_block))
    key = np.arange(length) // -(-length // -(-length // kernel.key_block))
    ranges = np.zeros((len(rows), query.max() + 1, 2), int)
    for place, row in enumerate(rows):
        scene, shot = (
            np.concatenate([getattr(BATCH.video.index, n)[row], getattr(BATCH.text.index, n)[row]])
            for n in ("scene", "shot")
        )
        scene[scene == 0] = 99
        order = np.lexsort((shot, scene))
        scene, shot = scene[order], shot[order]
        seen = (scene[:, None] == scene) & (scene != 99)
        if context == "causal":
            seen &= shot <= shot[:, None]
        for block in range(query.max() + 1):
            keys = key[seen[query == block].any(axis=0)]
            ranges[place, block] = (keys.min(), keys.max() + 1) if len(keys) else (99, 0)
    blocks = np.maximum(ranges[:, :, 1].max(axis=0) - ranges[:, :, 0].min(axis=0), 0).sum()
    return int(len(rows) * blocks * (query == 0).sum() * (key == 0).sum())


def test_sizes_of_groups_are_those_of_the_plans(sizes):
    assert sizes.scene[0].tolist() == [1, 1, 1, 1, 2, 2, 0]
    assert sizes.shot[0].tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert sizes.video[0].tolist() == [1, 6, 4, 4, 1, 9, 0]
    assert sizes.text[0].tolist() == [3, 2, 4, 1, 8, 6, 0]
    assert sizes.video[1].tolist() == [12, 1, 4, 3, 0, 0, 0]
    assert sizes.text[1].tolist() == [5, 1, 3, 2, 0, 0, 0]
    assert not sizes.video[2:].any() and not sizes.text[2:].any()


@pytest.mark.parametrize("context", ["full", "causal"])
def test_useful_work_is_that_of_the_scenes_alone(sizes, context):
    found = count_useful(sizes, count_costs(TINY), context=context)
    expected = [
        sum(
            count_scene_useful(count_costs(TINY), scene.plan, context=context).total
            for scene in row
        )
        for row in ROWS
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("context", ["full", "causal"])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0], [2]])
@pytest.mark.parametrize("blocks", [(16, 12), (5, 7), (256, 512)])
def test_computed_pairs_are_those_of_the_blocks_between_first_and_last(
    sizes, context, rows, blocks
):
    kernel = Kernel(*blocks, backward=5)
    tokens = sizes.video + sizes.text
    found = count_block_pairs(
        sizes.scene[rows],
        tokens[rows],
        length=VIDEO_TOKENS + TEXT_TOKENS,
        context=context,
        kernel=kernel,
    )
    assert found == brute_force_pairs(context, rows, kernel)


@pytest.mark.parametrize(
    ("accumulate", "sharing", "calls"),
    [
        (1, 4, [[0, 1, 2, 3]]),
        (2, 2, [[0, 2], [1, 3]]),  # rows of a micro-batch are taken in turn
        (1, 2, [[0, 1], [2, 3]]),  # two devices over rows
        (2, 1, [[0], [1], [2], [3]]),
    ],
)
def test_rows_of_one_call_of_the_kernel_share_their_blocks(sizes, accumulate, sharing, calls):
    program = PROGRAM._replace(sharing=sharing)
    work = count_work(sizes, make_config("full", accumulate=accumulate), program)
    pairs = sum(brute_force_pairs("full", rows, KERNEL) for rows in calls)
    linear = count_linear(
        count_costs(TINY), video=4 * VIDEO_TOKENS, text=4 * TEXT_TOKENS, groups=4 * SLOTS
    )
    np.testing.assert_allclose(
        work.computed, 3 * linear + 3.5 * count_attention(count_costs(TINY), pairs)
    )


def test_recomputed_work_counts_as_computed_and_not_useful(sizes):
    again = PROGRAM._replace(again=Recompute(linear=1.0, attention=0.5))
    first, second = (count_work(sizes, make_config("full"), p) for p in (PROGRAM, again))
    assert first.useful == second.useful < first.computed
    pairs = brute_force_pairs("full", [0, 1, 2, 3], KERNEL)
    linear = count_linear(
        count_costs(TINY), video=4 * VIDEO_TOKENS, text=4 * TEXT_TOKENS, groups=4 * SLOTS
    )
    once_more = linear + 0.5 * count_attention(count_costs(TINY), pairs)
    np.testing.assert_allclose(second.computed - first.computed, once_more)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_meter_counts_what_the_plan_counts(family):
    """Row by row, useful and computed: with text in the sequence, and with text beside it."""
    network = FAMILIES[family]
    scenes = make_scenes(config=network)
    rows = [[scenes["trio"]], [scenes["single"], scenes["pair"]]]
    batch = pack_scenes(rows, config=network).batch
    sizes = jax.device_get(count_groups(batch, SLOTS))
    costs, again = count_costs(network), Recompute(linear=1.0, attention=0.5)
    program = Program(costs, KERNEL, again, sharing=1)
    config = dataclasses.replace(
        make_config("causal"), **sections(network), data=dataclasses.replace(DATA, rows=2)
    )
    work = count_work(sizes, config, program)
    budget = {"video": VIDEO_TOKENS, "text": TEXT_TOKENS, "slots": SLOTS}
    computed = [
        count_computed(
            costs, [s.plan for s in row], **budget, context="causal", kernel=KERNEL, again=again
        ).total
        for row in rows
    ]
    useful = [count_scene_useful(costs, s.plan, context="causal") for row in rows for s in row]
    np.testing.assert_allclose(
        [work.computed, work.useful], [sum(computed), sum(work.total for work in useful)]
    )


def test_fill_is_by_tokens_and_by_the_row_of_most_work(sizes):
    work = count_work(sizes, make_config("full"), PROGRAM)
    assert (work.tokens, work.slots) == (25 + 20, 4 * 28)
    rows = count_useful(sizes, count_costs(TINY), context="full")
    np.testing.assert_allclose([work.mean, work.most], [rows.sum() / 4, rows[0]])


def test_rates_are_over_the_peak_of_all_devices():
    works = [Work(6e12, 8e12, 100, 120, 1.0, 1.0), Work(2e12, 4e12, 50, 120, 1.0, 1.0)]
    config = make_config("full")
    assert Throughput(config, PROGRAM, devices=8, chip=None).rate(works, 4.0) == {
        "steps_per_second": 0.5,
        "tokens_per_second": 37.5,
        "useful_flops_per_second": 2e12,
        "computed_flops_per_second": 3e12,
    }
    rates = Throughput(config, PROGRAM, devices=2, chip=CHIPS["v5p"]).rate(works, 4.0)
    np.testing.assert_allclose(rates["useful_mfu"], 2e12 / (2 * 459e12))
    np.testing.assert_allclose(rates["computed_mfu"], 3e12 / (2 * 459e12))
    # A TPU7x shows as two devices, which share its peak.
    rates = Throughput(config, PROGRAM, devices=2, chip=CHIPS["tpu7x"]).rate(works, 4.0)
    np.testing.assert_allclose(rates["useful_mfu"], 2e12 / 2307e12)


def test_chips_are_found_by_the_device_kind_of_jax():
    assert find_chip("TPU v6 lite") is CHIPS["v6e"]
    assert find_chip("NVIDIA H100 80GB HBM3") is CHIPS["h100"]
    assert find_chip("TPU7x") is find_chip("TPU7") is CHIPS["tpu7x"]
    assert find_chip(jax.devices()[0].device_kind) is None
    assert set(DEVICE_KINDS.values()) <= set(CHIPS)


@pytest.mark.parametrize(
    ("device_kind", "tera", "memory"),
    [
        ("NVIDIA A100-SXM4-40GB", 312, 40),
        ("NVIDIA H100 NVL", 835, 94),
        ("NVIDIA H100 PCIe", 756, 80),
        ("NVIDIA H800", 989, 80),
        ("NVIDIA B200", 2250, 180),
    ],
)
def test_gpus_have_their_published_peak_and_memory(device_kind, tera, memory):
    chip = find_chip(device_kind)
    assert (chip.flops, chip.memory) == (tera * 1e12, memory * 1e9)
