"""What the page of causal sampling says of guidance by history are the numbers of the results that ship."""

from __future__ import annotations

from pathlib import Path

from documents import find_measured

from lct_jax.evaluation.puppet_table import read_shares, to_markdown

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs/causal.md").read_text().split("## Guidance by history")[1].split("\n## ")[0]
PUPPETS = ROOT / "examples/puppets/history_guidance"
FILM = ROOT / "examples/big_buck_bunny/table"


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
    texts += [path.read_text() for path in FILM.rglob("table.md")]
    found = find_measured(SECTION)
    assert len(found) > 30
    assert found <= find_measured("\n".join(texts))
