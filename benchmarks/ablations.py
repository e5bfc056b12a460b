r"""Makes the plot and the table of docs/ablations.md from the results of `lct_jax.evaluation.puppets` for every run.

    python -m benchmarks.ablations --results=examples/puppets/ablations --out=docs/ablations.png

The program reads a folder of `RUN.ROW.json` files, writes a PNG, and prints a table in Markdown: shares with 95%
intervals, a line and a colour for each run, and a panel for each way of sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from benchmarks.drawing import load_pyplot
from lct_jax.cli import run
from lct_jax.errors import InputError
from lct_jax.evaluation.puppet_measures import Share
from lct_jax.evaluation.puppet_table import read_shares, show

# These map the measures, as `summarize` names them, to their titles here.
MEASURES = {
    "environment agrees": "environment\nagrees",
    "agrees/sky": "sky\nagrees",
    "agrees/ground": "ground\nagrees",
    "agrees/sun": "sun\nagrees",
    "agrees/landmark": "landmark\nagrees",
    "characters agree": "characters\nagree",
    "environment obeys": "environment\nobeys",
    "characters obey": "characters\nobey",
    "who": "who is\nthere",
    "framing": "framing",
    "motion and camera": "motion\nand camera",
    "cuts": "cuts",
}
# These are the runs in order, and what each changes.
RUNS = {
    "reference": "reference",
    "same": "all shots at the same coordinates",
    "per_scene": "one time for all shots, always",
    "no_frames": "no frame substitution",
    "own": "own and global prompts only",
    "low": "fewer times of high noise",
    "temporal": "shots one after another on the axis of time alone",
}
COLOURS = ("#24272e", "#c4572b", "#2f7ebc", "#2a9d6f", "#8d5fa8", "#c9a227", "#7a8793")
ROWS = {"joint": "Sampled jointly", "autoregressive": "Shot after shot"}

Shares = Mapping[str, Share]


def read_results(folder: Path) -> dict[str, dict[str, Shares]]:
    """Returns shares by row and run, of runs that exist; raises InputError if there are none."""
    found: dict[str, dict[str, Shares]] = {row: {} for row in ROWS}
    for row, runs in found.items():
        for name in RUNS:
            path = folder / f"{name}.{row}.json"
            if path.exists():
                runs[name] = read_shares(path)
    found = {row: runs for row, runs in found.items() if runs}
    if not found:
        raise InputError(f"--results: {folder}: found no RUN.ROW.json of {', '.join(RUNS)}")
    return found


def to_markdown(runs: Mapping[str, Shares]) -> str:
    """Returns a table with a line for each run."""
    titles = (title.replace("\n", " ") for title in MEASURES.values())
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(MEASURES) + 1) + "|"]
    for name, shares in runs.items():
        cells = (show(shares[m]) if m in shares else "-" for m in MEASURES)
        lines.append(f"| {RUNS[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(path: Path, results: Mapping[str, Mapping[str, Shares]]) -> None:
    """Writes the plot as PNG; raises InputError if matplotlib is missing."""
    pyplot = load_pyplot("benchmarks.ablations")
    size = (11, 3.2 * len(results) + 0.6)
    figure, axes = pyplot.subplots(
        len(results), 1, figsize=size, dpi=150, layout="constrained", squeeze=False, sharex=True
    )
    for axis, (row, runs) in zip(axes[:, 0], results.items(), strict=True):
        for place, (name, shares) in enumerate(runs.items()):
            _draw_run(axis, shares, name, offset=(place - (len(runs) - 1) / 2) * 0.1)
        axis.set_title(ROWS[row], loc="left", fontsize=10)
        axis.set_xticks(range(len(MEASURES)), list(MEASURES.values()), fontsize=8)
        axis.set_ylim(-0.03, 1.03)
        axis.set_ylabel("share, 95% interval", fontsize=8)
        axis.grid(axis="y", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def _draw_run(axis: object, shares: Shares, name: str, *, offset: float) -> None:
    told = [(x, s) for x, m in enumerate(MEASURES) if (s := shares.get(m)) and s.value is not None]
    places = [x + offset for x, _ in told]
    values = [share.value for _, share in told]
    spread = [[s.value - s.low for _, s in told], [s.high - s.value for _, s in told]]
    colour = COLOURS[list(RUNS).index(name)]
    axis.errorbar(
        places, values, spread, fmt="o", markersize=3.5, linewidth=1, color=colour, label=RUNS[name]
    )


def main(argv: Sequence[str]) -> None:
    del argv
    results = read_results(Path(RESULTS.value))
    draw(Path(OUT.value), results)
    for row, runs in results.items():
        print(f"{ROWS[row]}:\n\n{to_markdown(runs)}\n")


if __name__ == "__main__":
    RESULTS = flags.DEFINE_string("results", None, "Folder of the results.", required=True)
    OUT = flags.DEFINE_string("out", None, "The plot, a PNG.", required=True)
    run(main)
