"""What the page of causal sampling says of guidance by history are the numbers of the results that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from documents import find_measured, leave_out_tables, list_cells, list_titles

import lct_jax
from lct_jax.evaluation.puppet_measures import Share
from lct_jax.evaluation.puppet_table import read_shares, to_markdown
from lct_jax.evaluation.sample_row import fingerprint_of

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs/causal.md").read_text().split("## Guidance by history")[1].split("\n## ")[0]
PUPPETS = ROOT / "examples/puppets"
FILM = ROOT / "examples/big_buck_bunny/table"
VILLAGE = ROOT / "examples/village"
# The row of the film's table, and the row of the results, by scale.
FILM_ROWS = [
    ("independent shots", "-", "independent shots"),
    ("shot after shot", "1", "scene, shot after shot"),
    ("shot after shot", "3", "scene, shot after shot"),
    ("causal with cache", "1", "scene, causal with cache"),
    ("causal with cache", "3", "scene, causal with cache"),
]


def show(share: Share) -> str:
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_rows_of_puppets_are_those_that_ship(scale):
    read = lambda row: read_shares(PUPPETS / f"history_guidance/causal_h{scale}.{row}.json")
    apart, given = read("causal"), read("causal_given")
    names = ("environment agrees", "characters agree", "returning characters agree")
    cells = [show(apart[name]) for name in (*names, "characters obey", "framing")]
    cells += [show(given[f"given {what} kept"]) for what in ("environment", "characters")]
    assert f"| {scale} | {' | '.join(cells)} |" in SECTION


@pytest.mark.parametrize(
    "path", sorted((PUPPETS / "history_guidance").glob("*.json")), ids=lambda path: path.stem
)
def test_puppets_were_sampled_from_the_weights_that_ship(path):
    generator = lct_jax.load(
        PUPPETS / "puppets_causal.safetensors", codec=PUPPETS / "patch_codec.safetensors"
    )
    made = json.loads(path.read_text())
    assert made["weights"] == fingerprint_of(generator.place(1).params)
    assert made["sampling"]["history_guidance"] == float(path.stem.split(".")[0][-1])


@pytest.mark.parametrize(("title", "scale", "row"), FILM_ROWS)
def test_rows_of_the_film_are_those_that_ship(title, scale, row):
    table = (FILM / ("text_guidance" if scale == "1" else ".") / "table.md").read_text()
    known = {}
    for heading in list_titles(table):
        cells = list_cells(table, heading)
        less = heading == "Less independent shots"
        known |= {
            (place, "less" if less else name): c
            for (place, name), c in cells.items()
            if not less or name == "LPIPS across shots"
        }
    found = [line for line in SECTION.splitlines() if line.startswith(f"| {title} | {scale} |")]
    names = ("above other scenes", "LPIPS across shots", "less", "rank", "Frechet", "motion")
    expected = [known.get((row, name), "0") for name in names]
    assert found == [f"| {title} | {scale} | {' | '.join(expected)} |"]


def test_the_film_was_sampled_from_the_same_weights_and_settings_but_for_the_scale():
    guided, plain = (
        json.loads((FILM / folder / "results.json").read_text())["made"]
        for folder in (".", "text_guidance")
    )
    for row in {row for _, _, row in FILM_ROWS}:
        sampling = guided[row]["sampling"] | {"history_guidance": 1.0}
        assert guided[row]["sampling"]["history_guidance"] == 3.0
        assert guided[row] | {"sampling": sampling} == plain[row]


def test_the_text_has_no_other_numbers():
    texts = [path.read_text() for path in FILM.rglob("table.md")]
    for table in ("alone", "guided"):
        paths = (VILLAGE / table).glob("*.json")
        texts.append(to_markdown({path.stem: read_shares(path) for path in paths}))
    rows = {s: PUPPETS / f"history_guidance/causal_h{s}.causal_given.json" for s in (1, 5)}
    kept = {scale: read_shares(path) for scale, path in rows.items()}
    texts += [show(kept[scale]["keeps/landmark"]) for scale in rows]
    assert find_measured(leave_out_tables(SECTION)) <= find_measured("\n".join(texts))
    shapes = {scale: kept[scale]["keeps/shape"] for scale in rows}
    counts = [f"{round(x.value * x.count)} of {x.count}" for x in shapes.values()]
    assert f"shapes from {' to '.join(counts)}" in SECTION
