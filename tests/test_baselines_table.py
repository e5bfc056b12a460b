"""The table of docs/baselines.md is the one that the measured rows give, and diversity is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.baselines import METHODS, RESULTS, read_rows, write_tables
from lct_jax.evaluation.puppet_measures import Tally
from lct_jax.evaluation.puppet_table import find_diversity
from lct_jax.puppets.scene import SKIES

ROOT = Path(__file__).parents[1]


def test_the_tables_of_the_document_are_those_of_the_rows():
    document = (ROOT / "docs/baselines.md").read_text()
    for table in write_tables(ROOT / RESULTS).strip().split("\n\n"):
        assert table in document


def test_every_method_was_measured_on_the_same_scenes():
    counts = {name: len(read_rows(ROOT / RESULTS / f"{name}.jsonl")) for name in METHODS}
    assert counts == dict.fromkeys(METHODS, 32)


def show_skies(*counts: int) -> dict[str, Tally]:
    """Returns what a scene without a told sky shows: how many of ten shots have each of four skies."""
    read = sum(counts)
    return {f"shows/sky={sky}": Tally(n, read, 10) for sky, n in zip(SKIES, counts, strict=True)}


def test_diversity_is_nothing_for_one_value_and_one_for_all_alike():
    always, even = show_skies(10, 0, 0, 0), show_skies(2, 2, 2, 2)
    assert find_diversity([always] * 3).value == 0.0
    found = find_diversity([even] * 3)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert (found.told, found.count) == (0.8, 24)
    # Each scene has one sky, but all have not the same: (1 - 1/4 - 1/4) / (1 - 1/4), of both scenes or of one alone.
    two = find_diversity([show_skies(10, 0, 0, 0), show_skies(0, 10, 0, 0)])
    assert two.value == pytest.approx(2 / 3)
    assert (two.low, two.high) == pytest.approx((0.0, 2 / 3))


def test_there_is_no_diversity_where_no_value_is_read():
    assert find_diversity([{}, show_skies(0, 0, 0, 0)]).value is None
