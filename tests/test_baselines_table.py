"""The tables of docs/baselines.md are those that the measured rows give, and diversity is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from documents import find_measured, leave_out_tables

from benchmarks import film_baselines
from benchmarks.baselines import METHODS, RESULTS, write_tables
from lct_jax.backbones.registry import build_abstract
from lct_jax.base import open_weights
from lct_jax.evaluation.puppet_measures import Tally
from lct_jax.evaluation.puppet_table import find_diversity, read_tallies, show, summarize
from lct_jax.puppets.scene import SKIES

ROOT = Path(__file__).parents[1]
# Rows of another guidance, which the text speaks of and the tables leave out.
GUIDED = [RESULTS / f"guidance/guidance_{guidance}.joint.jsonl" for guidance in (1, 3)]
# What ships of LoRAs, beside bases that ship.
LORAS = [
    RESULTS / "puppets_in_context.safetensors",
    RESULTS / "puppets_budget.safetensors",
    film_baselines.WEIGHTS["in_context"],
]


def read_document() -> str:
    return (ROOT / "docs/baselines.md").read_text()


def find_said(title: str) -> set[str]:
    """Returns all numbers with an interval that the text of a section has, without its tables."""
    section = read_document().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return find_measured(leave_out_tables(section))


def test_the_tables_of_the_document_are_those_of_the_rows():
    """All numbers with an interval that the text has of the puppets stand in its tables, or in rows beside them."""
    tables = write_tables(ROOT / RESULTS)
    for table in tables.strip().split("\n\n"):
        assert table in read_document()
    measured = find_measured(tables)
    for scenes in (read_tallies(ROOT / path) for path in GUIDED):
        assert len(scenes) == 32
        measured |= {show(share) for share in (*summarize(scenes).values(), find_diversity(scenes))}
    said = find_said("What they reach")
    assert len(said) > 10
    assert said <= measured


def count_training(name: str) -> tuple[int, float]:
    """Returns the steps of a LoRA that ships and the video tokens that it was trained on, by its log."""
    path = ROOT / RESULTS / f"puppets_{name}.log.jsonl"
    reports = [json.loads(line) for line in path.read_text().splitlines()]
    filled = {report["step"]: report["fill"] for report in reports if "fill" in report}
    data = open_weights(path.parent / f"puppets_{name}.safetensors").meta.config.data
    since = np.diff([*filled], prepend=0)
    share = float(since @ np.array([*filled.values()]))
    return max(filled), share * data.rows * data.video_tokens


def test_the_lora_on_scenes_had_no_more_training_than_the_one_on_panels():
    steps, tokens = zip(*(count_training(name) for name in ("budget", "in_context")), strict=True)
    assert steps == (1000, 1000)
    assert 0.95 * tokens[1] < tokens[0] <= tokens[1]


def test_the_tables_of_the_film_are_those_of_its_results():
    """All numbers with an interval that the text has of the film stand in its tables."""
    tables = film_baselines.write_tables(ROOT / film_baselines.RESULTS)
    for table in tables.strip().split("\n\n"):
        assert table in read_document()
    said = find_said("On the film")
    assert len(said) > 3
    assert said <= find_measured(tables)


@pytest.mark.parametrize("path", LORAS, ids=str)
def test_a_lora_that_ships_lies_on_a_base_that_ships(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    weights = open_weights(path)
    params = weights.read(build_abstract(weights.meta.config.network).params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_every_method_was_measured_on_the_same_scenes():
    counts = {name: len(read_tallies(ROOT / RESULTS / f"{name}.jsonl")) for name in METHODS}
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
