"""What the page of causal sampling says of guidance by history are the numbers of the results that ship."""

from __future__ import annotations

import json
from pathlib import Path

from documents import find_measured

from lct_jax.evaluation.puppet_table import read_shares, to_markdown

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs/causal.md").read_text().split("## Guidance by history")[1].split("\n## ")[0]
PUPPETS = ROOT / "examples/puppets/history_guidance"
FILM = ROOT / "examples/big_buck_bunny/table"
VILLAGE = ROOT / "examples/village"


def test_the_film_was_sampled_from_the_same_weights_and_settings_but_for_the_scale():
    guided, plain = (
        json.loads((FILM / folder / "results.json").read_text())["made"]
        for folder in (".", "text_guidance")
    )
    for row in ("independent shots", "scene, shot after shot", "scene, causal with cache"):
        sampling = guided[row]["sampling"] | {"history_guidance": 1.0}
        assert guided[row]["sampling"]["history_guidance"] == 3.0
        assert guided[row] | {"sampling": sampling} == plain[row]


def test_every_number_was_measured():
    rows = {path.stem: read_shares(path) for path in PUPPETS.glob("*.json")}
    texts = [to_markdown(rows)]
    # Single attributes stand in no table.
    texts += [
        f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"
        for shares in rows.values()
        for name, share in shares.items()
        if name.startswith("keeps/")
    ]
    for table in ("alone", "guided"):
        paths = (VILLAGE / table).glob("*.json")
        texts.append(to_markdown({path.stem: read_shares(path) for path in paths}))
    texts += [path.read_text() for path in FILM.rglob("table.md")]
    found = find_measured(SECTION)
    assert len(found) > 30
    assert found <= find_measured("\n".join(texts))
