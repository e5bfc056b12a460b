"""What watches a run: traces of some steps, programs compiled again, signals."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from lct_jax.distributed import stop_signal
from lct_jax.distributed.stop_signal import STOPPING, StopSignal
from lct_jax.errors import InputError
from lct_jax.training.report.profile import Profile
from lct_jax.training.report.recompilations import Recompilations


def test_the_steps_of_the_window_are_traced(tmp_path):
    profile, double = Profile("2:3", tmp_path / "profile"), jax.jit(lambda x: 2 * x)
    ended = []
    for number in range(1, 6):
        with profile.before(number):
            result = double(jnp.ones(3))
        ended.append(profile.after(number, result))
    assert ended == [False, False, True, False, False]
    traces = list((tmp_path / "profile").glob("plugins/profile/*/*.xplane.pb"))
    assert len(traces) == 1 and traces[0].stat().st_size > 0
    content = traces[0].read_bytes()  # each step is marked by name and number
    assert b"train" in content


@pytest.mark.parametrize("steps", ["", "5:9"])
def test_nothing_is_traced_outside_of_it(tmp_path, steps):
    profile = Profile(steps, tmp_path / "profile")
    with profile.before(3):
        result = jnp.ones(3)
    assert not profile.after(3, result)
    profile.close()
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize("steps", ["3", "3:", "5:4", "0:4", "a:b", "-1:2"])
def test_a_window_that_is_none_is_refused(tmp_path, steps):
    with pytest.raises(InputError, match=r"--profile: found .*, expected START:STOP"):
        Profile(steps, tmp_path)


def test_a_program_compiled_again_is_counted_and_told_of():
    def step(x: jax.Array) -> jax.Array:
        return jnp.sin(x) + 1.5

    def other(x: jax.Array) -> jax.Array:
        return jnp.cos(x) + 2.5

    step, other = jax.jit(step), jax.jit(other)
    watched = Recompilations("step", "evaluate")
    for size in (2, 2, 2):
        step(jnp.ones(size))
    other(jnp.ones(2))
    other(jnp.ones(3))
    assert watched.count == 0 and watched.take_lines() == []
    step(jnp.ones(3))  # another shape
    step(jnp.ones(3))
    assert watched.count == 1
    (line,) = watched.take_lines()
    assert line.startswith("step: compiled again, ")
    assert watched.take_lines() == []
    step(jnp.ones(3, jnp.bfloat16))  # another dtype
    assert watched.count == 2
    watched.close()
    step(jnp.ones(4))
    assert watched.count == 2


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield StopSignal()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_before_the_first_step_a_signal_ends_the_process(stop, capsys, number, code):
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(number)
    assert caught.value.code == code
    assert capsys.readouterr().err == f"{number.name} before the first step: nothing to save\n"


def test_a_stop_signal_after_the_first_step_is_noted_with_its_time(stop, mesh, capsys):
    stop.defer()
    assert not stop.poll(mesh)
    stop.leave(Path("run"))
    signal.raise_signal(signal.SIGTERM)
    assert stop.received == signal.SIGTERM
    assert stop.poll(mesh)
    with pytest.raises(SystemExit) as caught:
        stop.leave(Path("run"))
    assert caught.value.code == 0
    said = r"run: SIGTERM, saved \d+\.\d s after it came; the same command goes on\n"
    assert re.fullmatch(said, capsys.readouterr().out)


def test_a_second_ctrl_c_ends_the_process(stop):
    stop.defer()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        stop.leave(Path("run"))
    assert caught.value.code == 130


def test_a_stop_signal_of_several_processes_is_acted_upon_one_step_later(mesh, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)  # so that devices are asked
    before = {number: signal.getsignal(number) for number in STOPPING}
    stop = StopSignal()
    found = [stop.poll(mesh)]
    signal.raise_signal(signal.SIGTERM)
    found += [stop.poll(mesh), stop.poll(mesh)]
    assert found == [False, False, True]
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_stop_signal_that_another_process_received_is_taken_over(stop, mesh, monkeypatch):
    monkeypatch.setattr(stop, "_several", True)
    stop.defer()
    monkeypatch.setattr(
        stop_signal, "_find_largest", lambda number, mesh: jnp.int32(signal.SIGTERM)
    )
    assert [stop.poll(mesh), stop.poll(mesh)] == [False, True]
    assert stop.received == signal.SIGTERM
