"""Tests end to end, by the programs that users run, that a short run learns the relations between shots.

`benchmarks/broken.py` has the faults that the limits were chosen with; docs/ablations.md shows by which measure each
fails.
"""

import pytest

from benchmarks.puppets_guard import find_failures, run_guard


@pytest.mark.slow
def test_shots_agree_on_withheld_attributes_after_a_short_run(tmp_path, monkeypatch):
    # The tests have eight devices, over which four rows do not divide.
    monkeypatch.delenv("XLA_FLAGS")
    measured = run_guard(tmp_path)
    assert find_failures(measured) == [], measured
