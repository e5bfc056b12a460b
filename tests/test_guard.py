"""The guard against bad updates: which it refuses, what they leave unchanged, and when a run ends."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scenes import SLOTS, TINY, make_scenes, pack_scenes

from lct_jax.backbones.mmdit.names import decays
from lct_jax.backbones.registry import build_abstract, count_costs
from lct_jax.config import Config, FlowConfig, TrainingConfig
from lct_jax.costs.flops import Kernel, Recompute
from lct_jax.costs.step import Program, count_groups
from lct_jax.errors import InputError
from lct_jax.flow import Breakdown
from lct_jax.training.guard import SETTLED, check_guard, guard_step, init_guard, judge
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.report.meter import Meter
from lct_jax.training.report.metrics import Metrics, measure_step
from lct_jax.training.report.throughput import Throughput
from lct_jax.training.state import TrainState, init_state, update_ema
from lct_jax.training.step import make_step

TRAINING = TrainingConfig(steps=10, warmup=1, spike=3.0, most_skipped=2)
NAN, INFINITE = float("nan"), float("inf")


def run_guard(losses: list[float], norms: list[float] | None = None) -> tuple[list[bool], list]:
    """Returns the verdicts on a sequence of losses, and the state of the guard after each."""
    guard, verdicts, guards = init_guard(), [], []
    for loss, norm in zip(losses, norms or [1.0] * len(losses), strict=True):
        good, guard = judge(guard, loss=jnp.float32(loss), norm=jnp.float32(norm), spike=3.0)
        verdicts.append(bool(good))
        guards.append(guard)
    return verdicts, guards


def test_updates_that_are_not_finite_are_refused_and_not_averaged():
    verdicts, guards = run_guard([2.0, NAN, INFINITE, 2.0, 2.0], [1.0, 1.0, 1.0, NAN, 1.0])
    assert verdicts == [True, False, False, False, True]
    assert [int(guard.in_a_row) for guard in guards] == [0, 1, 2, 3, 0]
    assert int(guards[-1].skipped) == 3
    assert int(guards[-1].made) == 2
    np.testing.assert_allclose(guards[-1].mean, 2.0, rtol=1e-6)


def test_spikes_are_refused_only_after_the_first_updates():
    verdicts, guards = run_guard([1.0, 3.5, *[1.0] * (SETTLED - 2), 3.5, 2.5])
    assert verdicts == [*[True] * SETTLED, False, True]
    # The mean has the weights of a running mean, divided by their sum so far.
    assert 1.0 < float(guards[-1].mean) < 1.1


class Output(NamedTuple):
    """What a guard reads of the output of a step."""

    loss: jax.Array
    gradient_norm: jax.Array


def test_a_refused_update_changes_only_the_step():
    """The step descends a linear loss, whose gradient is the batch."""
    optimizer = make_optimizer(TRAINING, decays=lambda _: True)

    def step(state, frozen, batch, key):
        updates, opt_state = optimizer.update({"w": batch}, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = update_ema(state.ema, params, step=state.step, decay=0.5)
        output = Output((batch * state.params["w"]).sum(), optax.tree.norm(batch))
        return TrainState(state.step + 1, params, ema, opt_state, state.guard), output

    check_that_only_the_step_changes(
        guard_step(step, spike=TRAINING.spike),
        init_state({"w": jnp.ones(3)}, optimizer),
        jnp.arange(3.0),
        poisoned=jnp.full(3, NAN),
    )


@pytest.mark.slow
def test_a_refused_update_of_a_network_changes_only_the_step():
    graph, shapes = build_abstract(TINY)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), shapes)
    optimizer = make_optimizer(TRAINING, decays=decays)
    step = make_step(
        graph, optimizer, flow_config=FlowConfig(), training=TRAINING, slots=SLOTS, samples=1
    )
    batch = pack_scenes([[make_scenes()["trio"]]]).batch
    video = batch.video._replace(value=np.full_like(batch.video.value, np.nan))
    check_that_only_the_step_changes(
        measure_step(guard_step(step, spike=TRAINING.spike), slots=SLOTS),
        init_state(params, optimizer),
        batch,
        poisoned=batch._replace(video=video),
    )


def check_that_only_the_step_changes(step, state, batch, *, poisoned) -> None:
    """Checks that a step on a poisoned batch changes nothing but the step, and that the next step does."""
    step, key = jax.jit(step), jax.random.key(0)
    state, _ = step(state, None, batch, key)
    after, _ = step(state, None, poisoned, key)
    assert int(after.guard.in_a_row) == int(after.guard.skipped) == 1
    assert int(after.step) == int(state.step) + 1
    for name in ("params", "ema", "opt_state"):
        before_and_after = (jax.tree.leaves(getattr(s, name)) for s in (state, after))
        for before, kept in zip(*before_and_after, strict=True):
            np.testing.assert_array_equal(kept, before)
    better, _ = step(after, None, batch, key)
    assert int(better.guard.in_a_row) == 0
    assert any(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(jax.tree.leaves(better.params), jax.tree.leaves(after.params), strict=True)
    )


def make_meter() -> Meter:
    program = Program(
        count_costs(TINY), Kernel(256, 512, backward=5), Recompute(1.0, 1.0), sharing=1
    )
    return Meter(Throughput(Config(name="tiny"), program, devices=1, chip=None))


def make_metrics(loss: float, in_a_row: int, samples: float = 1.0) -> Metrics:
    """Returns the metrics of a step whose whole loss is of shots at times below 0.1."""
    weights = np.zeros((2, 10), np.float32), np.zeros((2, SLOTS), np.float32)
    for sums in weights:
        sums[:, 0] = samples, samples * loss
    batch = pack_scenes([[make_scenes()["trio"]]]).batch
    return Metrics(
        loss=np.float32(loss),
        gradient_norm=np.float32(1.0),
        skipped_in_a_row=np.int32(in_a_row),
        breakdown=Breakdown(*weights),
        sizes=count_groups(batch, SLOTS),
    )


def test_a_report_names_skipped_steps_and_leaves_out_their_losses():
    meter = make_meter()
    steps = [(1.0, 0, 1.0), (NAN, 1, 9.0), (3.0, 0, 3.0), (NAN, 1, 9.0)]
    for step, (loss, in_a_row, samples) in enumerate(steps, start=5):
        meter.add(step, make_metrics(loss, in_a_row, samples))
    report = meter.report()
    assert report.skipped == (6, 8)
    assert report.in_a_row == 1
    assert report.values["loss"] == (1 * 1.0 + 3 * 3.0) / 4  # of four samples
    assert report.values["loss_by_time/0-0.1"] == report.values["loss_by_shot/1"] == 2.5
    assert "loss_by_time/0.1-0.2" not in report.values
    assert report.values["skipped"] == 2


def test_a_report_without_any_update_has_no_loss():
    meter = make_meter()
    meter.add(1, make_metrics(NAN, 4))
    report = meter.report()
    assert not any(name.startswith("loss") for name in report.values)
    assert report.in_a_row == 4


def test_a_run_ends_after_too_many_refused_updates_in_a_row():
    check_guard(1, TRAINING)
    check_guard(2, dataclasses.replace(TRAINING, most_skipped=3))
    with pytest.raises(InputError, match=r"2 updates in a row .* fewer than 2"):
        check_guard(2, TRAINING)
