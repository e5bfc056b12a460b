"""Kernels and one training step on the accelerator of this machine; where JAX finds none, the tests are skipped."""

from __future__ import annotations

import functools
import json

import pytest
from tiny_film import start_program

pytestmark = pytest.mark.programs


@functools.cache
def compare() -> dict[str, float | str]:
    """What `tests/on_accelerator.py` prints, with every platform open to JAX; the tests have the CPU alone."""
    process = start_program(
        "tests/on_accelerator.py", environment={"PYTHONPATH": ".", "JAX_PLATFORMS": ""}
    )
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ["attention, full", "attention, causal", "step"])
def test_an_accelerator_computes_what_the_reference_does(what):
    found = compare()
    if found["platform"] == "cpu":
        pytest.skip("JAX finds no accelerator on this machine, only its CPU")
    assert found[what] < 1e-4
