"""What ships of the village: weights that the measured rows belong to, and a page that says what these rows give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from documents import check_log, find_measured, leave_out_tables

import lct_jax
from lct_jax.codecs.patch_decoder import PatchDecoder
from lct_jax.codecs.registry import load_codec
from lct_jax.evaluation.puppet_table import read_shares, to_markdown
from lct_jax.evaluation.sample_row import fingerprint_of
from lct_jax.generator import Generator

EXAMPLE = Path(__file__).parents[1] / "examples/village"
PAGE = (EXAMPLE / "README.md").read_text()
# Scenes of one villager, and of two, and the same with guidance by history.
TABLES = ("alone", "table", "guided", "guided_two")
ROWS = [path for table in TABLES for path in sorted((EXAMPLE / table).glob("*.json"))]


def load(name: str) -> Generator:
    return lct_jax.load(
        EXAMPLE / f"{name}.safetensors", codec=EXAMPLE / "patch_decoder.safetensors"
    )


def test_the_tables_are_those_of_the_rows_and_the_text_has_no_other_numbers():
    known = set()
    for table in TABLES:
        rows = {path.stem: read_shares(path) for path in ROWS if path.parent.name == table}
        text = to_markdown(rows)
        assert text.strip() in PAGE
        known |= find_measured(text)
    assert find_measured(leave_out_tables(PAGE)) <= known


@pytest.mark.parametrize("path", ROWS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_row_was_sampled_from_the_weights_that_ship(path):
    generator = load(path.stem.split(".")[0])
    made = json.loads(path.read_text())
    assert made["weights"] == fingerprint_of(generator.place(1).params)
    assert made["drawing"]["cast"] == (
        [1, 1] if path.parent.name in ("alone", "guided") else [1, 2]
    )


def test_the_decoder_that_ships_has_the_latents_of_the_patch_codec():
    patch, decoder = (
        load_codec(EXAMPLE / f"{name}.safetensors", channels=64)
        for name in ("patch_codec", "patch_decoder")
    )
    assert decoder.identity == patch.identity
    assert isinstance(decoder, PatchDecoder)


@pytest.mark.parametrize("name", ["village_base", "village", "village_causal"])
def test_the_log_that_ships_is_that_of_the_whole_run(name):
    """The page says how many steps a run had, and the loss on held-out scenes at its end."""
    steps = load(name).config.training.steps
    check_log(PAGE, name, EXAMPLE / f"{name}.log.jsonl", steps=steps)
