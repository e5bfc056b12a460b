"""Plans of sampling: what guidance by history adds to passes, memory and time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lct_jax.cli import load_config
from lct_jax.config import freeze
from lct_jax.plan.report import describe_sampling
from lct_jax.plan.sampling import SamplingPlan, plan_sampling
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.workload import SceneTarget

CONFIG = freeze(load_config(str(Path(__file__).parents[1] / "configs/lct_3b.py")))


def plan(mode: str, topology: str = "v6e:2x2", **fields: float | str) -> SamplingPlan:
    sampling = dataclasses.replace(CONFIG.sampling, **fields)
    config = dataclasses.replace(CONFIG, sampling=sampling)
    return plan_sampling(config, parse_topology(topology), SceneTarget(shots=9), mode)


@pytest.mark.parametrize("mode", ["autoregressive", "causal"])
def test_a_third_row_takes_memory_and_time(mode):
    two, three = plan(mode), plan(mode, history_guidance=2.0)
    assert "passes of 2 rows of guidance" in describe_sampling(two, advice=())
    assert "passes of 3 rows of guidance" in describe_sampling(three, advice=())
    assert two.flops.total < three.flops.total < 1.5 * two.flops.total
    assert two.seconds < three.seconds
    layers = [p.memory.parts["layer temporaries"] for p in (two, three)]
    assert layers[1] == pytest.approx(1.5 * layers[0])
    assert three.history == pytest.approx(1.5 * two.history)
    assert three.cache == two.cache  # of both texts


@pytest.mark.parametrize("mode", ["autoregressive", "causal"])
def test_at_the_scale_of_the_text_it_takes_no_more(mode):
    two, equal = plan(mode), plan(mode, history_guidance=CONFIG.sampling.guidance)
    assert equal.memory == two.memory
    assert equal.flops.total < two.flops.total


def test_jointly_nothing_is_held():
    assert plan("joint", history_guidance=2.0).flops == plan("joint").flops
    alone = {"guidance": 1.0, "history_guidance": 2.0}
    assert {cost.single for cost in plan("joint", **alone).costs} == {CONFIG.sampling.steps}
    assert {cost.single for cost in plan("causal", **alone).costs} == {0}
    # The first shot has no history, and is guided by nothing.
    singles = [cost.single for cost in plan("autoregressive", **alone).costs]
    assert singles == [CONFIG.sampling.steps, *8 * [0]]


def test_a_step_that_is_kept_runs_all_rows():
    two, three = plan("causal", cache="reuse"), plan("causal", cache="reuse", history_guidance=2.0)
    kept = [p.memory.parts["a finished shot"] for p in (two, three)]
    assert kept[1] == pytest.approx(1.5 * kept[0])
    renoised = plan("causal", history_guidance=2.0).memory.parts["a finished shot"]
    assert renoised == pytest.approx(kept[0])


def test_rows_on_devices_of_their_own_are_repeated():
    """Sixteen devices are two groups of eight, so that three rows become four."""
    spread = plan("causal", "v6e:4x4", shards=8, history_guidance=2.0)
    assert spread.shards.data == 2
    assert {cost.rows for cost in spread.costs} == {4}
