"""A short run, end to end by the programs that users run, must still learn what shots have to do with each other.

`benchmarks/broken.py` has the faults that the floor was tried with; docs/ablations.md shows which fall below.
"""

import pytest

from benchmarks.puppets_guard import FLOOR, run_guard


@pytest.mark.slow
def test_shots_share_what_no_prompt_says_after_a_short_run(tmp_path):
    shares = run_guard(tmp_path)
    assert shares["sky and ground agree"] >= FLOOR, shares
