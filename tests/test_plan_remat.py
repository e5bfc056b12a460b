"""What "auto" recomputation stands for: literal choices by chip, and that plan, meter and network follow them."""

from __future__ import annotations

import dataclasses

import pytest
from scenes import TINY

from lct_jax.backbones.registry import count_costs
from lct_jax.cli import load_config
from lct_jax.config import Config, DataConfig, freeze
from lct_jax.config.network import make_network, put, sections
from lct_jax.costs.chips import CHIPS, GIB, Chip
from lct_jax.costs.step import make_program
from lct_jax.distributed.sharding import make_mesh
from lct_jax.plan.links import Shards
from lct_jax.plan.memory import estimate_memory
from lct_jax.plan.parameters import place_parameters
from lct_jax.plan.remat import SAFE, choose_remat, resolve_remat
from lct_jax.plan.report import describe_training
from lct_jax.plan.search import search
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.training import plan_training
from lct_jax.plan.workload import SceneTarget

# Eight blocks of which a token keeps 4, 4 and 80 KiB (input, output of attention, everything), over 32 devices.
EIGHT = Config(
    name="eight",
    **sections(make_network(depth=8, seq_shards=16)),
    data=DataConfig(rows=2, video_tokens=258_048, text_tokens=4_096, groups=48),
)
SHARDS = Shards(2, 16)
TOKENS = 262_144 / 16


def estimate(remat: str) -> dict[str, float]:
    parameters = place_parameters(EIGHT.network, SHARDS)
    memory = estimate_memory(put(EIGHT, remat=remat), parameters, SHARDS)
    return {"device": memory.parts["saved activations"], "host": memory.host}


def test_bytes_that_are_kept_of_a_token_by_hand():
    kib = 8 * 1024 * TOKENS
    assert estimate("none") == {"device": 80 * kib, "host": 0}
    assert estimate("save_attention") == {"device": 8 * kib, "host": 0}
    assert estimate("offload") == {"device": 4 * kib, "host": 4 * kib}
    assert estimate("block") == {"device": 4 * kib, "host": 0}
    assert estimate("offload_input") == {"device": 0, "host": 4 * kib}


@pytest.mark.parametrize("policy", ["none", "save_attention", "block", "offload_input"])
def test_auto_takes_what_computes_least_again_and_fits(policy):
    """The chip has what the policy needs, and not what the one before it needs."""
    parameters = place_parameters(EIGHT.network, SHARDS)
    needs = estimate_memory(put(EIGHT, remat=policy), parameters, SHARDS).total
    chip = dataclasses.replace(CHIPS["v6e"], usable=needs / SAFE + 1)
    assert choose_remat(EIGHT, SHARDS, chip) == put(EIGHT, remat=policy)
    # What fits nowhere is at least made small.
    tiny = dataclasses.replace(chip, usable=1.0)
    assert choose_remat(EIGHT, SHARDS, tiny).compute.remat == "offload_input"


@pytest.mark.parametrize(
    ("kept", "policy", "accumulate"),
    [
        # What sixteen rows at once need is there.
        (("save_attention", 1), "save_attention", 1),
        # Attention is spared by fewer rows at once rather than computed again.
        (("save_attention", 4), "save_attention", 4),
        # Not even a row at a time leaves room for what attention gave.
        (("block", 16), "block", 16),
        (("offload_input", 16), "offload_input", 16),
    ],
)
def test_auto_takes_more_micro_batches_where_attention_would_be_computed_again(
    kept, policy, accumulate
):
    config = dataclasses.replace(EIGHT, data=dataclasses.replace(EIGHT.data, rows=32))
    assert choose_remat(config, SHARDS, chip_for(config, *kept)) == divide(
        config, policy, accumulate
    )


def test_micro_batches_that_are_asked_for_are_the_least():
    config = dataclasses.replace(EIGHT, data=dataclasses.replace(EIGHT.data, rows=32))
    four = divide(config, "auto", 4)
    assert choose_remat(four, SHARDS, chip_for(config, "none", 1)) == divide(config, "none", 4)
    assert choose_remat(four, SHARDS, chip_for(config, "save_attention", 8)) == divide(
        config, "save_attention", 8
    )


@pytest.mark.parametrize(("topology", "accumulate"), [("v5p:4x4x4", 2), ("v6e:8x8", 4)])
def test_the_paper_s_run_computes_attention_once_on_both_of_its_slices(topology, accumulate):
    config = freeze(load_config("configs/lct_3b.py"))
    plan = plan_training(config, parse_topology(topology), SceneTarget(shots=9), steps=1)
    assert plan.config == divide(config, "save_attention", accumulate)
    assert plan.fits and plan.mfu > 0.8


def divide(config: Config, remat: str, accumulate: int) -> Config:
    """Returns a config with a policy and micro-batches."""
    training = dataclasses.replace(config.training, accumulate=accumulate)
    return put(dataclasses.replace(config, training=training), remat=remat)


def chip_for(config: Config, remat: str, accumulate: int) -> Chip:
    """Returns a chip of which an estimate may take just what this policy and these micro-batches need."""
    parameters = place_parameters(config.network, SHARDS)
    needs = estimate_memory(divide(config, remat, accumulate), parameters, SHARDS).total
    return dataclasses.replace(CHIPS["v6e"], usable=needs / SAFE + 1)


def test_a_named_policy_stays_and_unknown_chips_recompute_blocks():
    assert choose_remat(put(EIGHT, remat="none"), SHARDS, None).compute.remat == "none"
    assert choose_remat(EIGHT, SHARDS, None).compute.remat == "block"
    cpu = parse_topology("cpu:8").chip
    assert choose_remat(EIGHT, SHARDS, cpu).compute.remat == "block"
    config = put(Config(name="tiny", **sections(TINY)), remat="auto", seq_shards=2)
    assert resolve_remat(config, make_mesh(seq=2)).compute.remat == "block"


def test_the_plan_and_the_meter_count_what_auto_stands_for():
    topology = parse_topology("v5p:4x4x2")
    plan = plan_training(EIGHT, topology, SceneTarget(shots=8), steps=1)
    named = plan_training(put(EIGHT, remat="none"), topology, SceneTarget(shots=8), steps=1)
    assert plan == named
    assert "  remat                    none\n" in describe_training(plan, advice=[])
    program = make_program(
        plan.config, count_costs(EIGHT.network), platform="tpu", data_shards=SHARDS.data
    )
    assert program.again == (0.0, 0.0)


def test_what_is_moved_to_the_host_takes_its_time():
    """Both ways at 15 GB/s; and the search prefers what moves nothing."""
    config = put(EIGHT, remat="offload_input")
    plan = plan_training(config, parse_topology("v5p:4x4x2"), SceneTarget(shots=8), steps=1)
    assert plan.memory.host == 8 * 4096 * TOKENS
    assert plan.roofline.host == 2 * 8 * 4096 * TOKENS / 15e9
    text = describe_training(plan, advice=[])
    assert f"on the host besides      {plan.memory.host / GIB:9.3f}" in text
    options = search(EIGHT, parse_topology("v5p:4x4x2"), SceneTarget(shots=8))
    assert options[0].remat == "none"
    assert all(o.host == 0 for o in options if o.remat in ("none", "save_attention", "block"))
