"""The rows of the table: the ways to sample that the paper compares, and the floor that they are compared with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lct_jax.errors import InputError


@dataclass(frozen=True)
class Row:
    """A way to sample.

    Attributes:
        title: its name in the table.
        weights: the flag that names its weights: "base", "checkpoint", "causal" or "in_context".
        animator: the flag that names those that make the videos of its key frames, "" for the same.
        mode: a mode of `sample.py`. fields: the fields of the sampling config that it changes.
        alone: whether each shot is sampled as a single shot, without the global prompt.
        apart: whether its mode samples shots without the global prompt; they have the words of single shots then.
    """

    title: str
    weights: str
    mode: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False
    apart: bool = False
    animator: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of all weights that it needs."""
        return (self.weights, self.animator) if self.animator else (self.weights,)


FILMED = "as filmed"  # the title of the film's own row, which is not sampled
ROWS = {
    "single_before": Row("single shot, before", "base", "joint", alone=True),
    "single_after": Row("single shot, after", "checkpoint", "joint", alone=True),
    # A window has one shot: each shot is sampled apart under the scene's global prompt.
    "independent": Row("independent shots", "checkpoint", "autoregressive", {"window": 1}),
    "joint": Row("scene, joint", "checkpoint", "joint"),
    "autoregressive": Row("scene, shot after shot", "checkpoint", "autoregressive"),
    "causal": Row("scene, causal with cache", "causal", "causal"),
}
# The systems that the paper compares itself with (docs/baselines.md); they are sampled where they are named alone.
BASELINES = {
    "references": Row("references", "checkpoint", "references"),
    "shared_attention": Row("shared attention", "base", "shared_attention", apart=True),
    "in_context": Row("panels", "in_context", "in_context", apart=True, animator="base"),
    "image_to_video": Row("key frames apart", "base", "image_to_video", apart=True),
}


def choose_rows(text: str, *, weights: Collection[str]) -> dict[str, Row]:
    """Returns the rows that a flag names, in the order of the table; "all" are those of `ROWS` whose weights are given.

    Args:
        weights: the flags with weights that are given.

    Raises:
        InputError: a row is unknown, or its weights are not given.
    """
    if text == "all":
        return {name: row for name, row in ROWS.items() if row.weights in weights}
    wanted, known = text.split(","), ROWS | BASELINES
    for name in wanted:
        if name not in known:
            raise InputError(f"--rows: found {name!r}, expected some of {', '.join(known)}")
        for flag in known[name].flags:
            if flag not in weights:
                raise InputError(f"--{flag}: missing, expected weights for the row {name}")
    return {name: row for name, row in known.items() if name in wanted}
