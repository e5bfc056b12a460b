"""What ships of the film: weights that fit the example and that the measured rows belong to, and pages that say what
these rows give."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from documents import check_log, find_measured, list_cells, list_titles

import lct_jax
from lct_jax.backbones.registry import build_abstract
from lct_jax.cli import load_config
from lct_jax.config import Config, freeze
from lct_jax.data.scene_file import load_scene_file
from lct_jax.evaluation.sample_row import fingerprint_of
from lct_jax.training.checkpoint.weights import load_weights, read_weights_meta

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/big_buck_bunny"
PAGE = (EXAMPLE / "README.md").read_text()
EVALUATION = (ROOT / "docs/evaluation.md").read_text()
TABLE = (EXAMPLE / "table/table.md").read_text()
NAMES = ("film_base", "film", "film_causal")
DIFFERENCES = "Less independent shots"
# The rows of each of the weights.
ROWS = {
    "film_base": ("single shot, before",),
    "film": ("single shot, after", "independent shots", "scene, joint", "scene, shot after shot"),
    "film_causal": ("scene, causal with cache",),
}


def read_results() -> dict:
    return json.loads((EXAMPLE / "table/results.json").read_text())


def preset(name: str) -> Config:
    return freeze(load_config(str(ROOT / f"configs/{name}.py")))


def read_section() -> str:
    """Returns what the page of evaluations says of the film."""
    return EVALUATION.split("## The film example")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_their_config_and_carry_the_credit(name):
    path = EXAMPLE / f"{name}.safetensors"
    meta, expected = read_weights_meta(path), preset(name)
    assert meta.config.network == expected.network
    assert meta.config.data == expected.data
    assert meta.config.training.context == expected.training.context
    assert "Blender Foundation" in meta.credit
    leaves = jax.tree.leaves(load_weights(path, build_abstract(expected.network).params))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert f"{sum(leaf.size for leaf in leaves) / 1e6:.1f} million parameters" in PAGE


def test_weights_together_are_small():
    assert sum((EXAMPLE / f"{name}.safetensors").stat().st_size for name in NAMES) < 40e6


def test_scenes_that_are_held_out_are_as_many_as_the_page_says():
    scenes = load_scene_file(EXAMPLE / "scenes.json").scenes
    names = preset("film").data.hold_out
    held_out = [s for s in scenes if s.split == "held_out" or s.id in names]
    assert {*names} < {s.id for s in held_out}
    trained = sum(len(s.ranges) for s in scenes if s not in held_out)
    assert f"{len(held_out)} scenes are held out" in PAGE
    assert f"{len(scenes) - len(held_out)} scenes with {trained} shots" in PAGE
    assert f"- {len(held_out)} scenes, 1 seed each" in TABLE


@pytest.mark.parametrize("name", NAMES)
def test_rows_were_sampled_from_the_weights_that_ship(name):
    generator = lct_jax.load(
        EXAMPLE / f"{name}.safetensors", codec=EXAMPLE / "film_vae.safetensors"
    )
    made = read_results()["made"]
    for row in ROWS[name]:
        assert made[row]["weights"] == fingerprint_of(generator.place(1).params)


def test_rows_of_three_seeds_are_those_of_one_but_for_the_seeds():
    more = json.loads((EXAMPLE / "table/three_seeds/results.json").read_text())["made"]
    made = read_results()["made"]
    assert more == {row: made[row] for row in ("independent shots", "scene, causal with cache")}


def test_every_row_has_its_weights():
    results = read_results()
    assert list(results["rows"]) == ["as filmed", *results["made"]]
    assert sorted(results["made"]) == sorted(row for rows in ROWS.values() for row in rows)


def test_the_page_of_evaluations_has_the_tables_and_no_other_numbers():
    """A table of the page has some columns of those that were written, under their names."""
    section, known = read_section(), find_measured(TABLE)
    known |= find_measured((EXAMPLE / "table/three_seeds/table.md").read_text())
    assert find_measured(section) <= known
    written = {title: list_cells(TABLE, title) for title in list_titles(TABLE)}
    differences = written.pop(DIFFERENCES)
    measures = {place: cell for cells in written.values() for place, cell in cells.items()}
    first, second = list_titles(section)
    assert second == DIFFERENCES
    for title, expected in ((first, measures), (second, differences)):
        for place, cell in list_cells(section, title).items():
            # Of some measures the page leaves out the interval.
            assert cell in (expected[place], expected[place].split(" (")[0]), place


@pytest.mark.parametrize("name", NAMES)
def test_the_log_that_ships_is_that_of_the_whole_run(name):
    """The page says how many steps a run had, and the loss on held-out scenes at its end."""
    steps = read_weights_meta(EXAMPLE / f"{name}.safetensors").config.training.steps
    check_log(PAGE, name, EXAMPLE / f"{name}.log.jsonl", steps=steps)


def test_the_page_of_causal_sampling_has_the_losses_by_time_of_both_bases():
    page = (ROOT / "docs/causal.md").read_text()
    for name in ("film_base_high_times", "film_base"):
        lines = (EXAMPLE / f"{name}.log.jsonl").read_text().splitlines()
        last = [found for line in lines if "held_out/loss" in (found := json.loads(line))][-1]
        losses = [last[f"held_out/loss_t{time}"] for time in (0.1, 0.3, 0.5, 0.7, 0.9)]
        assert " | ".join(f"{loss:.3f}" for loss in losses) in page
        assert f"{last['held_out/loss']:.3f}" in page
