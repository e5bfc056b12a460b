"""Makes the table of the puppet evaluation: each row is a way to sample, and each column a measure."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lct_jax.evaluation.bootstrap import BOUNDS, resample_sums
from lct_jax.evaluation.puppet_measures import Share, Tally, measure


@dataclass(frozen=True)
class Row:
    """A way to sample.

    Attributes:
        mode: a mode of `sample.py`. fields: of its sampling config.
        given: shots (from 0) given as a picture.
        apart: whether every shot is a scene of its own, whose prompt describes everything.
        drawn: whether the first frame of every shot is held as it was drawn.
    """

    mode: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[int, ...] = ()
    apart: bool = False
    drawn: bool = False


ROWS = {
    # A window has one shot: each shot is sampled alone under the global prompt.
    "independent": Row("autoregressive", {"window": 1}),
    "joint": Row("joint"),
    "autoregressive": Row("autoregressive"),
    "autoregressive_t0": Row("autoregressive", {"history_time": 0.0}),
    "autoregressive_t500": Row("autoregressive", {"history_time": 0.5}),
    "joint_given": Row("joint", given=(0,)),
    "causal": Row("causal"),
    "causal_t0": Row("causal", {"history_time": 0.0}),
    "causal_t500": Row("causal", {"history_time": 0.5}),
    "causal_given": Row("causal", given=(0,)),
    # The steps of a cache that is reused are those of the sampling: the one nearest to 0 is that of `causal_reuse`.
    "causal_reuse": Row("causal", {"cache": "reuse"}),
    "causal_reuse_t500": Row("causal", {"cache": "reuse", "history_time": 0.5}),
    "causal_relevant": Row("causal", {"history": "relevant"}),
    # A history of no shots: what the weights sample apart.
    "causal_independent": Row("causal", {"window": 1}),
    "causal_last_two": Row("causal", {"history_shots": 2}),
    "causal_relevant_two": Row("causal", {"history_shots": 2, "history": "relevant"}),
}
# Beside them the systems that the paper compares itself with (docs/baselines.md), and their floor: every shot apart.
ALL_ROWS = ROWS | {
    "references": Row("references"),
    "apart": Row("autoregressive", {"window": 1}, apart=True),
    "image_to_video": Row("image_to_video"),
    "image_to_video_drawn": Row("image_to_video", drawn=True),
    "shared_attention": Row("shared_attention"),
    "in_context": Row("in_context"),
}


def _pairs(kind: str, *, of_characters: bool) -> Callable[[str], bool]:
    return lambda name: (
        name.startswith(f"{kind}/")
        and name.count("/") == 1
        and _is_of_character(name) == of_characters
    )


def _obeys(*, of_characters: bool) -> Callable[[str], bool]:
    return lambda name: is_of_told(name) and _is_of_character(name) == of_characters


def is_of_told(name: str) -> bool:
    """Returns whether a measure is of one told attribute, such as "obeys/1.hat"; "obeys/3" is of all that shot 3 shows
    (rollout_measures.py), and counts the same cases again."""
    kind, _, what = name.partition("/")
    return kind == "obeys" and not what.isdigit()


def _is_of_character(name: str) -> bool:
    """Returns whether a measure such as "agrees/1.hat/3" is of a character's attribute."""
    return "." in name.split("/")[1]


COLUMNS: dict[str, Callable[[str], bool]] = {
    "environment agrees": _pairs("agrees", of_characters=False),
    "characters agree": _pairs("agrees", of_characters=True),
    "given environment kept": _pairs("keeps", of_characters=False),
    "given characters kept": _pairs("keeps", of_characters=True),
    "returning characters agree": lambda name: name.startswith("returns/"),
    "environment obeys": _obeys(of_characters=False),
    "characters obey": _obeys(of_characters=True),
    "who": lambda name: name == "who",
    "framing": lambda name: name == "framing",
    "motion and camera": lambda name: name == "action",
    "cuts": lambda name: name == "cut",
}
# Of worlds with faces alone; other results have no such column.
FACES: dict[str, Callable[[str], bool]] = {"expression": lambda name: name == "expression"}


def summarize(scenes: Sequence[Mapping[str, Tally]]) -> dict[str, Share]:
    """Returns all columns of one row, then every attribute apart and agreement by distance in shots."""
    return {name: measure(scenes, wanted) for name, wanted in find_measures(scenes).items()}


def find_measures(scenes: Sequence[Mapping[str, Tally]]) -> dict[str, Callable[[str], bool]]:
    """Returns what `summarize` measures of these scenes: by name, which of their tallies are counted."""
    faces = FACES if any("expression" in tallies for tallies in scenes) else {}
    measures = {**COLUMNS, **faces}
    names = sorted({name for tallies in scenes for name in tallies if "/" in name})
    for kind in sorted({_without_number(name) for name in names}):
        measures[kind] = lambda name, kind=kind: _without_number(name) == kind
    for distance in sorted({int(name.split("/")[2]) for name in names if name.count("/") == 2}):
        for group, of_characters in (("environment", False), ("characters", True)):
            measures[f"{group} agree at distance {distance}"] = (
                lambda name, d=distance, of=of_characters: (
                    name.startswith("agrees/")
                    and name.endswith(f"/{d}")
                    and _is_of_character(name) == of
                )
            )
    return measures


def find_diversity(scenes: Sequence[Mapping[str, Tally]]) -> Share:
    """Returns how evenly withheld attributes of the environment take their values, from 0 (always one) to 1 (even).

    It is 1 - sum(p^2) over its largest value, the mean over attributes, of the values that `count_values` has counted.
    Scenes are resampled whole. An attribute that is withheld nowhere is left out.
    """
    spreads, readable, asked = [], 0, 0
    for name, values in _values_shown(scenes).items():
        cases = [
            [scene.get(f"shows/{name}={value}", Tally(0, 0, 0)) for value in values]
            for scene in scenes
        ]
        table = np.array(cases, np.float64)
        # Each value is counted among the same cases.
        readable, asked = readable + table[:, 0, 1].sum(), asked + table[:, 0, 2].sum()
        shown = table[:, :, 0]
        # The same scenes are drawn again for every attribute.
        counts = np.concatenate([shown.sum(axis=0, keepdims=True), resample_sums(shown)])
        total = counts.sum(axis=1)
        alike = np.square(counts).sum(axis=1) / np.maximum(np.square(total), 1)
        spreads.append(np.where(total > 0, (1.0 - alike) / (1.0 - 1.0 / len(values)), np.nan))
    if not readable:
        return Share(None, None, None, 0.0, 0)
    found = np.array(spreads)
    means = np.nanmean(found[:, ~np.isnan(found).all(axis=0)], axis=0)
    low, high = np.percentile(means[1:], BOUNDS)
    return Share(float(means[0]), float(low), float(high), float(readable / asked), int(readable))


def _values_shown(scenes: Sequence[Mapping[str, Tally]]) -> dict[str, list[str]]:
    """Returns the attributes of the environment that are withheld somewhere, and all values of each."""
    found: dict[str, dict[str, None]] = {}
    for key in (key for tallies in scenes for key in tallies if key.startswith("shows/")):
        name, value = key.removeprefix("shows/").split("=")
        if "." not in name:
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in sorted(found.items())}


def read_tallies(path: Path) -> list[dict[str, Tally]]:
    """Returns the tallies of every scene that the evaluation has kept in a file; none where it is not there."""
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return [{name: Tally(*counts) for name, counts in json.loads(text).items()} for text in lines]


def read_shares(path: Path) -> dict[str, Share]:
    """Returns the measures of one row from the JSON that the evaluation wrote."""
    shares = json.loads(path.read_text())["shares"]
    return {name: Share(**values) for name, values in shares.items()}


def to_markdown(rows: Mapping[str, Mapping[str, Share]]) -> str:
    """Returns a table of shares with their intervals, a row for each way to sample; columns without cases are
    left out."""
    columns = [
        c
        for c in (*COLUMNS, *FACES)
        if any(c in found and found[c].count for found in rows.values())
    ]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, shares in rows.items():
        # Results of an older version lack some columns.
        cells = (show(shares[column]) if column in shares else "-" for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def show(share: Share) -> str:
    """Returns a share with its interval as text, or "-" if no case could be read."""
    if share.value is None:
        return "-"
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})"


@functools.cache
def _without_number(name: str) -> str:
    """Returns the name of a measure of any character: "agrees/1.hat" and "agrees/2.hat" are both "agrees/hat"."""
    return "/".join(part.split(".")[-1] for part in name.split("/"))
