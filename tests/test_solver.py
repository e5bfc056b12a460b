"""Options of sampling: an interval of guidance, rescaling, and a solver of second order."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from test_sampling import CONFIG, Recorder, make_job, make_request, run, window

from lct_jax.errors import InputError
from lct_jax.sampling import window as sampling_window
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.guidance import rescale, scale_steps
from lct_jax.sampling.schedule import plan_joint


def test_guidance_outside_of_its_interval_takes_the_prompted_velocity() -> None:
    config = dataclasses.replace(CONFIG, guidance=5.0, guidance_from=0.3, guidance_to=0.8)
    times = time_grid(4, 1.0)  # 1, 0.75, 0.5, 0.25, 0
    np.testing.assert_array_equal(
        scale_steps(config, times)[:, 0], np.float32([1.0, 5.0, 5.0, 1.0])
    )
    np.testing.assert_array_equal(scale_steps(CONFIG, times)[:, 0], np.float32([2.0] * 4))


def test_the_negative_row_is_computed_in_the_interval_of_guidance_alone() -> None:
    request = make_request(2)
    plan = plan_joint(request, window(9))
    answer = lambda video, text, time_BS: (
        jnp.sin(video.value) * text.value.mean((1, 2))[:, None, None] * time_BS[:, 1, None, None]
    )
    rows = {}
    for solver in ("euler", "heun"):
        config = dataclasses.replace(
            CONFIG, solver=solver, steps=8, guidance=5.0, guidance_from=0.3, guidance_to=0.8
        )
        recorder = Recorder(answer)
        found = run(request, plan, recorder, config=config)
        rows[solver] = [len(call[2]) for call in recorder.calls]
        both = Recorder(answer)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling_window, "is_always_guided", lambda config: True)
            expected = run(request, plan, both, config=config)
        assert {len(call[2]) for call in both.calls} == {2}
        for shot, tokens in found.items():
            # u + (c - u) is c but for rounding.
            np.testing.assert_allclose(tokens, expected[shot], atol=1e-5)
    # Steps begin at 1, 0.875 and so on; those of Heun ask at 1, 0.75 twice, 0.5 twice, 0.25 twice.
    assert rows["euler"] == [1, 1, 2, 2, 2, 2, 1, 1]
    assert rows["heun"] == [1, 2, 2, 2, 2, 1, 1]


def test_rescaling_brings_the_spread_of_each_slot_to_that_of_the_prompted_velocity() -> None:
    prompted = jnp.asarray([[0.0], [2.0], [0.0], [6.0]])  # deviations 1 and 3
    guided = jnp.asarray([[1.0], [9.0], [5.0], [7.0]])  # 4 and 1
    slot = jnp.asarray([0, 0, 1, 1])
    whole = rescale(guided, prompted, slot, slots=2, share=1.0)
    np.testing.assert_allclose(whole[:, 0], [0.25, 2.25, 15.0, 21.0], rtol=1e-6)
    half = rescale(guided, prompted, slot, slots=2, share=0.5)
    np.testing.assert_allclose(half[:, 0], [0.625, 5.625, 10.0, 14.0], rtol=1e-6)


def test_rescaling_changes_what_is_sampled_and_nothing_of_equal_branches() -> None:
    request = make_request(1)
    plan = plan_joint(request, window(9))
    rescaled = dataclasses.replace(CONFIG, guidance_rescale=0.7)
    by_text = lambda video, text, time_BS: (
        jnp.sin(video.value) * text.value.mean((1, 2))[:, None, None]
    )
    alike = lambda video, text, time_BS: jnp.sin(7.0 * video.value)
    for answer, changes in ((by_text, True), (alike, False)):
        one, other = (run(request, plan, answer, config=c)[0] for c in (CONFIG, rescaled))
        assert (np.abs(one - other).max() > 1e-3) == changes


def test_heun_is_of_second_order_and_asks_no_more_often_than_euler() -> None:
    """The velocity is x - 1, whose exact flow from time 1 to 0 brings x to 1 + (x - 1) / e."""
    request = make_request(1)
    plan, recorder = plan_joint(request, window(9)), Recorder(lambda v, text, time: v.value - 1.0)
    start = np.asarray(make_job(request).draw_noise(0))
    exact = 1.0 + (start - 1.0) * np.exp(-1.0)
    errors = {}
    for solver in ("euler", "heun"):
        config = dataclasses.replace(CONFIG, steps=16, solver=solver)
        before = len(recorder.calls)
        found = run(request, plan, recorder, config=config)[0]
        errors[solver] = np.abs(found - exact).max()
        assert len(recorder.calls) - before == {"euler": 16, "heun": 15}[solver]
    assert errors["heun"] < errors["euler"] / 4
    times = [float(call[2][0, 1]) for call in recorder.calls[16:]]
    assert times[:5] == [1.0, 0.875, 0.875, 0.75, 0.75]
    assert times[-1] == 0.125


def test_heun_needs_the_cache_that_is_made_of_a_pass_of_its_own() -> None:
    with pytest.raises(InputError, match=r"^sampling\.solver: found 'heun', expected 'euler' with"):
        dataclasses.replace(CONFIG, solver="heun", cache="reuse")
