"""Draws the figure of `overhead.py`: FLOPs counted at 3B on the left, seconds of a small model on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lct_jax.errors import InputError

LABELS = {
    "independent": "independent shots",
    "joint": "LCT, joint",
    "autoregressive": "LCT, shot after shot",
    "causal": "causal, with cache",
}
COLOURS = {
    "independent": "#85878d",
    "joint": "#2f7ebc",
    "autoregressive": "#c4572b",
    "causal": "#2a9d6f",
}


def load_pyplot(program: str) -> Any:
    """Returns matplotlib.pyplot for files alone; raises InputError, naming the program that draws, if it is missing."""
    try:
        import matplotlib
    except ImportError:
        raise InputError(f"{program}: found no matplotlib, expected it to draw") from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def draw(path: Path, results: dict[str, Any]) -> None:
    """Writes the figure as PNG; raises InputError if matplotlib is missing."""
    pyplot = load_pyplot("benchmarks.overhead")
    counted, measured = results["counted_3b"], results["measured"]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.8), dpi=150, layout="constrained")
    for mode, label in LABELS.items():
        parts = zip(counted["linear"][mode], counted["attention"][mode], strict=True)
        total = [(linear + attention) / 1e15 for linear, attention in parts]
        for axis, values in ((axes[0], total), (axes[1], measured["seconds"][mode])):
            shots = range(1, len(values) + 1)
            axis.plot(shots, values, marker="o", markersize=3.5, label=label, color=COLOURS[mode])
    axes[0].set_title("Compute at 3B (counted)", loc="left", fontsize=10)
    axes[0].set_ylabel("PFLOP a scene")
    axes[1].set_title(
        "Latency of a small model on two CPU cores (measured)", loc="left", fontsize=10
    )
    axes[1].set_ylabel("seconds a scene")
    for axis in axes:
        axis.set_xlabel("shots in the scene")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path)
    pyplot.close(figure)
