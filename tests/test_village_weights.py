"""What ships of the village: weights that the measured rows belong to, and a page that says what these rows give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import lct_jax
from lct_jax.evaluation.puppet_table import Share, to_markdown
from lct_jax.evaluation.sample_row import fingerprint_of
from lct_jax.generator import Generator

EXAMPLE = Path(__file__).parents[1] / "examples/village"
PAGE = (EXAMPLE / "README.md").read_text()
ROWS = {
    path.stem: json.loads(path.read_text()) for path in sorted((EXAMPLE / "table").glob("*.json"))
}
# Numbers with their intervals, as tables and text have them; a line may end within one.
MEASURED = re.compile(r"\d+\.\d\d\s+\(\d+\.\d\d\s+to\s+\d+\.\d\d\)")


def load(name: str) -> Generator:
    return lct_jax.load(EXAMPLE / f"{name}.safetensors", codec=EXAMPLE / "patch_codec.safetensors")


def test_the_table_is_that_of_the_rows_and_the_text_has_no_other_numbers():
    shares = {
        name: {column: Share(**values) for column, values in row["shares"].items()}
        for name, row in ROWS.items()
    }
    table = to_markdown(shares)
    assert table.strip() in PAGE
    text = "\n".join(line for line in PAGE.splitlines() if not line.startswith("|"))
    said = {" ".join(found.split()) for found in MEASURED.findall(text)}
    assert said <= set(MEASURED.findall(table))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_was_sampled_from_the_weights_that_ship(name):
    generator = load(name.split(".")[0])
    assert ROWS[name]["weights"] == fingerprint_of(generator.place(1).params)


@pytest.mark.parametrize("name", ["village_base", "village"])
def test_the_log_that_ships_is_that_of_the_whole_run(name):
    """The page says how many steps a run had, and the loss on held-out scenes at its end."""
    lines = (EXAMPLE / f"{name}.log.jsonl").read_text().splitlines()
    reports = [json.loads(line) for line in lines]
    held_out = [report for report in reports if "held_out/loss" in report]
    steps = load(name).config.training.steps
    assert reports[-1]["step"] == held_out[-1]["step"] == steps
    assert f"| `{name}` |" in PAGE
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.split("|")]
    assert f"{steps:,}" in cells
    assert f"{held_out[-1]['held_out/loss']:.3f}" in cells
