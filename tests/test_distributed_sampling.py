"""A scene sampled by two processes that share tokens and heads is the scene of one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from process_pair import last_line, run_alone, start_pair
from safetensors.numpy import load_file
from shared_folder import make_once
from test_causal_tuning import causal_run
from test_programs import SAMPLING, write_script
from tiny_film import shared_run

pytestmark = [pytest.mark.slow, pytest.mark.programs]


def script() -> Path:
    return make_once("two", write_script) / "script.json"


def arguments(origin: Path, out: Path, *more: str) -> list[str]:
    given = {"checkpoint": origin, "out": out, "script": script()}
    return ["sample.py", *(f"--{n}={v}" for n, v in given.items()), *SAMPLING, *more]


@pytest.mark.parametrize(
    ("run", "more"),
    [
        (shared_run, ["--mode=joint"]),
        (lambda: causal_run()[0], ["--mode=causal", "--cache=reuse"]),
    ],
)
def test_sampling_on_two_processes_equals_one(tmp_path, run, more):
    result = run_alone(*arguments(run(), tmp_path / "one", *more))
    assert result.code == 0, result.stderr
    first, second = start_pair(*arguments(run(), tmp_path / "two", *more, "--shards=2")).wait()
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    names = {path.name for path in (tmp_path / "one").rglob("*")}
    assert {path.name for path in (tmp_path / "two").rglob("*")} == names
    expected = load_file(tmp_path / "one" / "latents.safetensors")
    found = load_file(tmp_path / "two" / "latents.safetensors")
    assert found.keys() == expected.keys()
    for name, latent in expected.items():
        np.testing.assert_allclose(found[name], latent, atol=1e-5)
    assert np.abs(expected["shot_01"]).max() > 0.1


def test_a_process_without_a_part_in_sampling_is_refused(tmp_path):
    results = start_pair(*arguments(shared_run(), tmp_path, "--mode=joint")).wait()
    said = "error: sampling.shards: found 1, expected 2, so that each of 2 processes has a part"
    assert [result.code for result in results] == [2, 2]
    # The second process ends for the error of the first one, or raises the same error.
    assert all(said.removeprefix("error: ") in last_line(result) for result in results)
