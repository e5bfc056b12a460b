"""Estimates of memory against the programs that were compiled: what "auto" leaves free is enough for all of them."""

from __future__ import annotations

import re

import pytest
from tiny_film import run_program

from lct_jax.plan.remat import SAFE

pytestmark = pytest.mark.slow
# A line of the table: the name, and at its end what was estimated, what was compiled and how far they are apart.
LINE = re.compile(r"^\| (\w+), .* \| ([\d.]+) \| ([\d.]+) \| [+-][\d.]+% \|$", re.MULTILINE)
MOST_ABOVE = 1.15  # an estimate may be so many times what the compiler takes


def test_no_program_takes_more_than_the_margin_of_auto_and_none_far_less_than_is_estimated():
    result = run_program("-m", "benchmarks.plan_accuracy", "--table")
    assert result.code == 0, result.stderr
    ratios = {name: float(a) / float(b) for name, a, b in LINE.findall(result.stdout)}
    assert len(ratios) >= 27
    assert {name: r for name, r in ratios.items() if not SAFE <= r <= MOST_ABOVE} == {}
