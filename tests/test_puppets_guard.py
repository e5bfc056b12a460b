"""A short run, end to end by the programs that users run, must still learn what shots have to do with each other.

`benchmarks/broken.py` has the faults that the floors were tried with; docs/ablations.md shows which fall below.
"""

import pytest

from benchmarks.puppets_guard import FLOORS, run_guard


@pytest.mark.slow
def test_shots_share_what_no_prompt_says_after_a_short_run(tmp_path):
    shares = run_guard(tmp_path)
    assert all(shares[name] >= floor for name, floor in FLOORS.items()), shares
