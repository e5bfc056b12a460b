"""Measures the cost of shots in context: four ways of sampling one to nine shots (the figure of the paper's
supplement).

    python -m benchmarks.overhead [--repeats=3]      counts, measures, writes results/overhead.json and draws
    python -m benchmarks.overhead --draw             draws docs/overhead.png from existing results

FLOPs are counted at 3B from shapes; seconds are measured with a small model. Drawing needs matplotlib (the extra
`plots`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks.drawing import draw
from benchmarks.machine import find_machine
from benchmarks.measuring import measure_attention, measure_int8, measure_modes
from lct_jax.backbones.registry import count_costs, count_parameters
from lct_jax.backbones.registry import describe as describe_network
from lct_jax.cli import run
from lct_jax.config import NetworkConfig, SamplingConfig
from lct_jax.config.network import make_network
from lct_jax.costs.chips import CHIPS
from lct_jax.files import replace_atomically
from lct_jax.plan.scenes import BYTES, MODES, count_cache, count_scene, make_request

SHOTS = 9
RESULTS = Path(__file__).with_name("results") / "overhead.json"
FIGURE = Path(__file__).parents[1] / "docs" / "overhead.png"
# This is a full shot of the paper, 125 frames at 480x480, with prompts of usual length.
FULL_SHOT = {"grid": (32, 30, 30), "text": 128, "scene_text": 384, "width": 1, "channels": 64}
# The roofline divides the work perfectly over this many chips.
DIVIDED = 8
SHOWN = ("v5p", "v6e", "tpu7x", "h100", "h200")  # of lct_jax/costs/chips.py

REPEATS = flags.DEFINE_integer("repeats", 3, "Repeats, of which the fastest counts.")
DRAW = flags.DEFINE_bool("draw", False, "Only draw the figure anew.")


def main(argv: Sequence[str]) -> None:
    del argv
    if not DRAW.value:
        results = {
            "machine": find_machine(),
            "counted_3b": count_3b(),
            "measured": measure(),
        }
        with replace_atomically(RESULTS) as unfinished:
            unfinished.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    print(describe(results))
    draw(FIGURE, results)


def count_3b() -> dict[str, Any]:
    """Returns FLOPs, cache and roofline of one to nine full shots at the 3B shape."""
    model, config = make_network(), SamplingConfig()
    weights = BYTES * count_parameters(model)
    counted: dict[str, Any] = {"linear": {}, "attention": {}, "roofline_seconds": {}}
    for mode in MODES:
        linear, attention, seconds = [], [], {CHIPS[name].title: [] for name in SHOWN}
        for shots in range(1, SHOTS + 1):
            scene = FULL_SHOT | ({"scene_text": 0} if mode == "independent" else {})
            costs = count_scene(count_costs(model), make_request(shots, **scene), config, mode)
            linear.append(sum(cost.flops.linear for cost in costs))
            attention.append(sum(cost.flops.attention for cost in costs))
            read = sum(cost.passes * weights + cost.cached * _token_bytes(model) for cost in costs)
            for chip in map(CHIPS.get, SHOWN):
                bound = max((linear[-1] + attention[-1]) / chip.flops, read / chip.bandwidth)
                seconds[chip.title].append(bound / DIVIDED)
        counted["linear"][mode], counted["attention"][mode] = linear, attention
        counted["roofline_seconds"][mode] = seconds
    request = make_request(SHOTS, **FULL_SHOT)
    cache = [count_cache(describe_network(model).cache, request, shots) for shots in range(SHOTS)]
    counted["cache_bytes_before_shot"] = cache
    counted["chips_for_weights_and_cache"] = {
        # The memory holds the cache, the history gathered from it, and the weights.
        chip.title: int(np.ceil((2 * cache[-1] + weights) / chip.memory))
        for chip in map(CHIPS.get, SHOWN)
    }
    return counted


def measure() -> dict[str, Any]:
    """Returns the small model's times and memory, and those of its attention beside what is counted."""
    measured = measure_modes(SHOTS, REPEATS.value)
    attention = measure_attention(SHOTS, 3 * REPEATS.value)
    joint, causal = np.array(attention["joint"]), np.array(attention["causal"])
    spent = {
        "independent": SHOTS * joint[0],
        "joint": joint[-1],
        "autoregressive": joint.sum(),
        "causal": causal.sum(),
    }
    return measured | {
        "repeats": REPEATS.value,
        "attention_seconds": attention,
        "attention_of_joint": {mode: value / spent["joint"] for mode, value in spent.items()},
        "counted_of_joint": dict(zip(MODES, (9 / 81, 1.0, 285 / 81, 45 / 81), strict=True)),
        # No shot sees the last one, so it is not renoised.
        "nth_shot": fit_line(measured["seconds_of_shot"]["causal"][:-1]),
        "int8_error": measure_int8(),
    }


def fit_line(seconds: Sequence[float]) -> dict[str, float]:
    """Returns a line through the seconds of the n-th shot over n, and how much of their variance it explains."""
    values = np.array(seconds)
    shots = np.arange(1, len(values) + 1)
    slope, start = np.polyfit(shots, values, 1)
    rest = values - (slope * shots + start)
    return {
        "seconds": float(start),
        "seconds_more_a_shot": float(slope),
        "r_squared": float(1 - rest.var() / values.var()),
    }


def describe(results: dict[str, Any]) -> str:
    """Returns a table of nine shots in Markdown, and how the small model's times agree with the count."""
    counted, measured = results["counted_3b"], results["measured"]
    lines = [
        "| nine shots | attention, PFLOP | linear, PFLOP | on 8 TPU v6e, s | here, s | peak, MB |",
        "|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        attention, linear = (counted[part][mode][-1] / 1e15 for part in ("attention", "linear"))
        roofline = counted["roofline_seconds"][mode]["TPU v6e"][-1]
        seconds, peak = measured["seconds"][mode][-1], measured["peak_megabytes"][mode]
        peak = "" if peak is None else f"{peak:.0f}"
        lines.append(
            f"| {mode} | {attention:,.0f} | {linear:,.0f} | {roofline:,.0f} | {seconds:.2f} | {peak} |"
        )
    share, counted_share = (
        measured[part]["causal"] for part in ("attention_of_joint", "counted_of_joint")
    )
    attention, whole = fit_line(measured["attention_seconds"]["causal"]), measured["nth_shot"]
    return "\n".join(
        [
            *lines,
            f"attention, causal to joint: measured {share:.3f}, counted {counted_share:.3f}",
            f"attention of the n-th shot: a line explains {attention['r_squared']:.3f}",
            f"time of the n-th shot: a line explains {whole['r_squared']:.3f}",
            f"error of int8 keys and values: {measured['int8_error']:.5f}",
        ]
    )


def _token_bytes(model: NetworkConfig) -> int:
    return 2 * BYTES * model.backbone.depth * model.backbone.heads * model.backbone.head_dim


if __name__ == "__main__":
    run(main)
