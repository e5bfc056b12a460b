"""Writes the results of `train_step.py` as tables in Markdown, also into README.md."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.step_cases import Case
from lct_jax.files import replace_atomically

BEGIN, END = "<!-- made by benchmarks.train_step -->", "<!-- end -->"
NAMES = {"ours": "ours", "eager": "PyTorch", "compiled": "PyTorch, compiled"}


def describe_case(case: Case) -> dict[str, Any]:
    """Returns the sizes of a case, and the useful FLOPs of its step."""
    flops, model = case.count(), case.model
    return {
        "width": model.backbone.width,
        "depth": model.backbone.depth,
        "rows": len(case.rows),
        "row_tokens": case.tokens // len(case.rows),
        "useful_tokens": case.useful,
        "scenes": len(case.scenes),
        "linear_flops": flops.linear,
        "attention_flops": flops.attention,
    }


def describe(results: dict[str, Any]) -> str:
    """Returns tables of what was measured, one below the other."""
    cases = results["cases"]
    load = ", ".join(f"{load:.1f} after {name}" for name, load in results["load"].items())
    fixed = {name: case for name, case in cases.items() if "linear" in case["parts"]}
    parts = [f"{results['machine']}; load {load}."]
    if fixed:
        parts += [describe_steps(fixed), describe_parts(fixed)]
    if "packed" in cases:
        parts.append(describe_mixed(cases["packed"], cases["padded"]))
    return "\n\n".join(parts)


def describe_steps(cases: dict[str, Any]) -> str:
    """Returns a table of steps of fixed shape."""
    lines = [
        "| case | side | step, s | of both cores, s | ours is faster by | GFLOP/s | of the peak | memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in cases.items():
        flops = case["linear_flops"] + case["attention_flops"]
        for side, answers in case["parts"]["step"].items():
            speed = flops / median(answers["wall"]) / 1e9
            lines.append(
                f"| {name} | {NAMES[side]} | {median(answers['wall']):.2f} | {median(answers['cpu']):.2f} "
                f"| {_ratio(case, 'step', side)} | {speed:.0f} | {speed / find_peak(case):.0%} "
                f"| {max(answers['rise']) / 1e6:.0f} |"
            )
    peaks = ", ".join(f"{name} {find_peak(case):.0f}" for name, case in cases.items())
    return "\n".join([*lines, "", f"Peak of a float32 matrix product here, GFLOP/s: {peaks}."])


def describe_parts(cases: dict[str, Any]) -> str:
    """Returns a table of the seconds of a step by part, and the share of the peak that its matrix products reach."""
    lines = [
        "| case | part | "
        + " | ".join(f"{name}, s" for name in NAMES.values())
        + " | ours, of the peak |",
        "|---|---|---|---|---|---|",
    ]
    for name, case in cases.items():
        for part, of_side in split_seconds(case).items():
            seconds = " | ".join(
                f"{of_side[side]:.2f}" if side in of_side else "" for side in NAMES
            )
            flops = case.get(f"{part}_flops")
            share = f"{flops / of_side['ours'] / 1e9 / find_peak(case):.0%}" if flops else ""
            lines.append(f"| {name} | {part} | {seconds} | {share} |")
    return "\n".join(lines)


def split_seconds(case: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the seconds by part and side: what was measured alone, and the rest of the gradient and of the step."""
    alone = {
        part: {side: median(answers["wall"]) for side, answers in sides.items()}
        for part, sides in case["parts"].items()
    }
    left = lambda whole, *parts: {
        side: alone[whole][side] - sum(alone[part][side] for part in parts) for side in alone[whole]
    }
    return {
        "linear": alone["linear"],
        "attention": alone["attention"],
        "rest of the gradient": left("gradient", "linear", "attention"),
        "optimiser and EMA": left("step", "gradient"),
    }


def describe_mixed(packed: dict[str, Any], padded: dict[str, Any]) -> str:
    """Returns a table of useful tokens a second of packed and of padded rows."""
    lines = [
        "| rows | side | rows x tokens | of use | step, s | useful tokens/s | ours packed is faster by | memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = packed["parts"]["step"]["ours"]
    for name, case in (("packed", packed), ("padded", padded)):
        for side, answers in case["parts"]["step"].items():
            wall, useful = median(answers["wall"]), case["useful_tokens"]
            fill = useful / (case["rows"] * case["row_tokens"])
            faster = ratio(answers, ours) if name == "padded" else "1"
            lines.append(
                f"| {name} | {NAMES[side]} | {case['rows']} x {case['row_tokens']:,} | {fill:.0%} | {wall:.2f} "
                f"| {useful / wall:,.0f} | {faster} | {max(answers['rise']) / 1e6:.0f} |"
            )
    return "\n".join(lines)


def write_tables(readme: Path, results: dict[str, Any]) -> None:
    """Writes the tables between their marks in a README."""
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    with replace_atomically(readme) as unfinished:
        unfinished.write_text(
            f"{before}{BEGIN}\n{describe(results)}\n{END}{rest.split(END, maxsplit=1)[1]}"
        )


def find_peak(case: dict[str, Any]) -> float:
    """Returns the GFLOP/s of the fastest matrix product of any side."""
    return max(max(answers["gflops"]) for answers in case["parts"]["matmul"].values())


def ratio(slow: dict[str, Any], fast: dict[str, Any]) -> str:
    """Returns the ratio of `slow` to `fast`, turn by turn: by the clock and, after it, by the cores."""

    def each(key: str) -> float:
        return median([one / other for one, other in zip(slow[key], fast[key], strict=True)])

    return f"{each('wall'):.2f} ({each('cpu'):.2f})"


def _ratio(case: dict[str, Any], part: str, side: str) -> str:
    sides = case["parts"][part]
    return "1" if side == "ours" else ratio(sides[side], sides["ours"])


median = statistics.median
