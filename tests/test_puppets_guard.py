"""Tests end to end, by the programs that users run, that a short run learns the relations between shots.

`benchmarks/broken.py` has the faults that the limits were chosen with; docs/ablations.md shows by which measure each
fails.
"""

import math

import pytest

from benchmarks.puppets_guard import CEILINGS, FLOORS, find_failures, run_guard


@pytest.mark.slow
def test_shots_agree_on_withheld_attributes_after_a_short_run(tmp_path, monkeypatch):
    # The tests have eight devices, over which four rows do not divide.
    monkeypatch.delenv("XLA_FLAGS")
    measured = run_guard(tmp_path)
    assert find_failures(measured) == [], measured


def test_every_measure_can_fail():
    good = {**{name: floor + 0.01 for name, floor in FLOORS.items()}, **CEILINGS}
    assert find_failures(good) == []
    for name in FLOORS:
        for bad in (FLOORS[name] - 0.01, math.nan):
            assert find_failures({**good, name: bad}) == [name]
    for name in CEILINGS:
        for bad in (CEILINGS[name] + 0.01, math.nan):
            assert find_failures({**good, name: bad}) == [name]
