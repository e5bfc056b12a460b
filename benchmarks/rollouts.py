r"""Makes the plot and the tables of docs/causal.md: what scenes show by the number of the shot, in ways to sample.

    python -m benchmarks.rollouts --results=examples/puppets/rollouts --out=docs/rollouts.png

The program reads a folder of `NAME.ROW.jsonl` files that `lct_jax.evaluation.puppets --shots=20` has written, writes a
PNG, and prints tables in Markdown: shares with 95% intervals, for groups of shots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.drawing import load_pyplot
from lct_jax.cli import define_path, run
from lct_jax.errors import InputError
from lct_jax.evaluation.puppet_measures import Share, Tally
from lct_jax.evaluation.puppet_table import read_tallies, show
from lct_jax.evaluation.rollout_measures import KEPT, measure_numbers

# First and last shot of each group, from 1. A window holds nine shots, so later ones do not see the first.
GROUPS = ((1, 1), (2, 5), (6, 9), (10, 14), (15, 20))


class Panel(NamedTuple):
    """A measure: its title, the kinds of tallies that it joins, and whether it counts what could be read of them."""

    title: str
    kinds: tuple[str, ...]
    certainty: bool = False


PANELS = (
    Panel("shows what the first shot showed", KEPT),
    Panel("shows what the prompt says", ("obeys", "who", "framing")),
    Panel("pixels of pure colour", ("pure",)),
    Panel("could be read", ("obeys", *KEPT), certainty=True),
)


class Way(NamedTuple):
    """A way to sample: its title, and how it is drawn."""

    title: str
    colour: str
    line: str = "-"


WAYS = {
    "independent": Way("independent shots", "#85878d"),
    "autoregressive_t0": Way("shot after shot, history at 0", "#c4572b", ":"),
    "autoregressive": Way("shot after shot, history at 0.2", "#c4572b"),
    "autoregressive_t500": Way("shot after shot, history at 0.5", "#c4572b", "--"),
    "causal_independent": Way("causal weights, independent shots", "#24272e"),
    "causal_t0": Way("causal, cache at 0", "#2a9d6f", ":"),
    "causal": Way("causal, cache at 0.2", "#2a9d6f"),
    "causal_t500": Way("causal, cache at 0.5", "#2a9d6f", "--"),
    "causal_relevant": Way("causal, cache at 0.2, relevant history", "#8d5fa8"),
    "causal_reuse": Way("causal, step nearest 0.2 reused", "#2f7ebc"),
    "causal_reuse_t500": Way("causal, step nearest 0.5 reused", "#2f7ebc", "--"),
}

# The tallies of every scene, by row.
Rollouts = Mapping[str, Sequence[Mapping[str, Tally]]]


def read_rollouts(folder: Path) -> dict[str, list[dict[str, Tally]]]:
    """Returns the tallies of every scene by row, in the order of `WAYS`; raises InputError if there are none."""
    files = {path.name.split(".")[-2]: path for path in sorted(folder.glob("*.*.jsonl"))}
    found = {row: read_tallies(files[row]) for row in WAYS if row in files}
    if not found:
        raise InputError(f"--results: {folder}: found no NAME.ROW.jsonl of {', '.join(WAYS)}")
    return found


def measure_panel(
    scenes: Sequence[Mapping[str, Tally]], panel: Panel, group: tuple[int, int]
) -> Share:
    """Returns a measure of the shots of a group."""
    if panel.certainty:
        readable = lambda tally: Tally(tally.readable, tally.asked, tally.asked)
        scenes = [{name: readable(tally) for name, tally in scene.items()} for scene in scenes]
    return measure_numbers(scenes, panel.kinds, *group)


def to_markdown(rollouts: Rollouts, panel: Panel) -> str:
    """Returns a table of a measure: a line for each way to sample, a column for each group of shots."""
    titles = [f"shot {first}" if first == last else f"{first} to {last}" for first, last in GROUPS]
    lines = [f"| {panel.title} | {' | '.join(titles)} |", "|---" * (len(GROUPS) + 1) + "|"]
    for row, scenes in rollouts.items():
        cells = (show(measure_panel(scenes, panel, group)) for group in GROUPS)
        lines.append(f"| {WAYS[row].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(path: Path, rollouts: Rollouts) -> None:
    """Writes the plot as PNG; raises InputError if matplotlib is missing."""
    pyplot = load_pyplot("benchmarks.rollouts")
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 4.2), dpi=110, layout="constrained")
    for axis, panel in zip(axes, PANELS, strict=True):
        for place, (row, scenes) in enumerate(rollouts.items()):
            shares = [measure_panel(scenes, panel, group) for group in GROUPS]
            told = [(at, share) for at, share in enumerate(shares) if share.value is not None]
            offset = (place - (len(rollouts) - 1) / 2) * 0.06
            axis.errorbar(
                [at + offset for at, _ in told],
                [share.value for _, share in told],
                [[s.value - s.low for _, s in told], [s.high - s.value for _, s in told]],
                fmt="o", linestyle=WAYS[row].line, markersize=3, linewidth=1, elinewidth=0.6,
                color=WAYS[row].colour, label=WAYS[row].title,
            )  # fmt: skip
        names = [f"{first}" if first == last else f"{first}-{last}" for first, last in GROUPS]
        axis.set_xticks(range(len(GROUPS)), names, fontsize=8)
        axis.set_title(panel.title, loc="left", fontsize=10)
        axis.set_xlabel("number of the shot", fontsize=8)
        axis.grid(axis="y", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def main(argv: Sequence[str]) -> None:
    del argv
    rollouts = read_rollouts(Path(RESULTS.value))
    draw(Path(OUT.value), rollouts)
    print("\n\n".join(to_markdown(rollouts, panel) for panel in PANELS))


if __name__ == "__main__":
    RESULTS = define_path("results", "Folder of the results.", required=True)
    OUT = define_path("out", "The plot, a PNG.", required=True)
    run(main)
