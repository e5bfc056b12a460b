"""A short run, end to end by the programs that users run, must still learn what shots have to do with each other.

`benchmarks/broken.py` has the faults that the limits were tried with; docs/ablations.md shows by what each fails.
"""

import pytest

from benchmarks.puppets_guard import find_failures, run_guard


@pytest.mark.slow
def test_shots_share_what_no_prompt_says_after_a_short_run(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # the tests' eight devices: four rows do not divide over them
    measured = run_guard(tmp_path)
    assert find_failures(measured) == [], measured
