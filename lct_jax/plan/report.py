"""Plans as text and tables for people, and as plain values for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from lct_jax.costs.chips import GIB
from lct_jax.plan.collectives import Collective
from lct_jax.plan.links import Shards
from lct_jax.plan.memory import Memory
from lct_jax.plan.quantities import (
    name_count,
    name_days,
    name_flops,
    name_parts,
    name_seconds,
)
from lct_jax.plan.sampling import SamplingPlan
from lct_jax.plan.search import Option
from lct_jax.plan.topology import Topology
from lct_jax.plan.training import TrainingPlan
from lct_jax.plan.workload import Workload

# Options of a search that are shown.
SHOWN = 8
# Characters of a collective's origin that are shown; XLA for GPU joins the names of all that it fused.
LONGEST = 72
# Collectives that send less than this share of all bytes are merged into a line.
SMALL = 0.01


def answer_fit(total: float, topology: Topology, *, advice: Sequence[str] = ()) -> str:
    """Returns `fits: 21.3 of 31.2 GiB a device`, or that it does not fit, and what would help."""
    usable = topology.chip.usable
    amount = f"{total / GIB:.1f} of {usable / GIB:.1f} GiB a device"
    if total <= usable:
        return f"fits: {amount}"
    return "\n  ".join([f"does not fit: {amount}", *advice])


def describe_training(plan: TrainingPlan, *, advice: Sequence[str]) -> str:
    """Returns a training plan as text."""
    config, work, parameters = plan.config, plan.work, plan.parameters
    share = plan.useful_share
    trained = f", {parameters.trained / 1e6:,.1f} million of them trained as a LoRA"
    lora = trained if parameters.frozen else ""
    lines = [
        f"{config.name} on {plan.topology.name}: {plan.topology.chips} x {plan.topology.chip.title}, "
        f"mesh {describe_mesh(plan.shards)}",
        "",
        *_table(
            [
                (
                    "parameters",
                    f"{name_count(parameters.count)} in {parameters.leaves} arrays{lora}",
                ),
                *describe_workload(plan.workload),
                ("batch", describe_batch(plan)),
                ("remat", config.compute.remat),
                ("computed a step", name_parts(work.computed)),
                (
                    "useful of it",
                    f"{name_flops(work.useful.total)}, {work.useful.total / work.computed.total:.0%}: "
                    f"linear {share.linear:.0%}, attention {share.attention:.0%}",
                ),
            ]
        ),
        "",
        *describe_memory(plan.memory, plan.estimate),
        "",
        *describe_collectives(plan),
        answer_fit(plan.memory.total, plan.topology, advice=advice),
        *describe_time(plan),
    ]
    return "\n".join(lines)


def describe_sampling(plan: SamplingPlan, *, advice: Sequence[str]) -> str:
    """Returns a plan of sampling a scene as text."""
    flops, shots = plan.flops, len(plan.request.shots)
    passes = sum(cost.passes for cost in plan.costs)
    single = sum(cost.single for cost in plan.costs)
    alone = f", {single} of them of the prompted one alone" if single else ""
    grid, most = plan.request.shots[0].grid, max(cost.rows for cost in plan.costs)
    rows = [
        ("a scene", f"{shots} shots of {math.prod(grid):,} video tokens"),
        ("windows", f"{len(plan.windows)}, {passes} passes of {most} rows of guidance{alone}"),
        ("computed", name_parts(flops)),
    ]
    if plan.cache:
        rows.append(
            (
                "cache",
                f"{plan.cache / GIB:,.1f} GiB, and {plan.history / GIB:,.1f} of history gathered from it",
            )
        )
    lines = [
        f"{plan.config.name} on {plan.topology.name}, {plan.mode}: {plan.shards.data * plan.shards.seq} of "
        f"{plan.topology.devices} devices, mesh {describe_mesh(plan.shards)}",
        "",
        *_table(rows),
        "",
        *describe_memory(plan.memory, plan.estimate),
        "",
        answer_fit(plan.memory.total, plan.topology, advice=advice),
    ]
    if plan.seconds is None:
        lines.append(_no_time(plan.topology))
    else:
        scene, shot, unit = name_seconds(plan.seconds, plan.seconds / shots)
        lines.append(f"a scene: at least {scene} {unit}, {shot} {unit} a shot")
    return "\n".join(lines)


def describe_memory(memory: Memory, estimate: Memory | None) -> list[str]:
    """Returns a table of a device's memory; a plan with a compiler's memory also shows how near the estimate was."""
    source = "estimated" if estimate is None else "compiled"
    sizes = {**memory.parts, "together": memory.total}
    lines = [f"memory a device, GiB, {source}"]
    lines += _table((n, f"{s / GIB:9.3f}") for n, s in sizes.items() if s)
    if memory.host:
        lines += _table([("on the host besides", f"{memory.host / GIB:9.3f}")])
    if estimate is not None:
        off = estimate.total / memory.total - 1
        lines += _table([("estimated before", f"{estimate.total / GIB:9.3f} ({off:+.1%})")])
    return lines


def describe_mesh(shards: Shards) -> str:
    """Returns the mesh as text, such as `data 16 x seq 4`."""
    return f"data {shards.data} x seq {shards.seq}"


def describe_workload(work: Workload) -> list[tuple[str, str]]:
    """Returns the rows of a table for a shot, a scene and a row."""
    grid = "x".join(map(str, work.scene.shots[0].grid))
    used = work.scenes * work.scene_video
    return [
        (
            "a shot",
            f"{work.frames} frames of {work.width}x{work.height}: {grid} = {work.shot_tokens:,} video tokens, "
            f"{work.scene.shots[0].text} of text",
        ),
        (
            "a scene",
            f"{len(work.scene.shots)} shots: {work.scene_video:,} video tokens, {work.scene_text:,} of text "
            "(prompts half as long as their spans, or padded)",
        ),
        (
            "a row",
            f"{work.scenes} scenes, {used / work.video:.0%} of {work.video:,} video and {work.text:,} text tokens",
        ),
    ]


def describe_batch(plan: TrainingPlan) -> str:
    """Returns a line about the rows of a step, and how they are divided."""
    micro = plan.config.training.accumulate
    rows = plan.workload.rows / plan.shards.data / micro
    parts = f", in {micro} micro-batches" if micro > 1 else ""
    return f"{plan.workload.rows} rows, {rows:g} at a time in a group of {plan.shards.seq}{parts}"


def describe_collectives(plan: TrainingPlan) -> list[str]:
    """Returns a table of what is sent, most first; those of less than `SMALL` of all bytes share one line."""
    if not plan.collectives:
        return []
    ranked = sorted(plan.collectives, key=lambda c: -c.sent)
    least = SMALL * sum(c.sent for c in ranked)
    rest = [c for c in ranked if c.sent < least]
    rows = [(f"{c.kind} over {c.axis}", _sent([c], c.what)) for c in ranked if c.sent >= least]
    if rest:
        rows.append(("smaller ones", _sent(rest, f"{len(rest)} more kinds")))
    return [
        "sent by a device in a step, and what its links take for it at least",
        *_table(rows),
        "",
    ]


def _sent(group: Sequence[Collective], what: str) -> str:
    count, sent, seconds = (sum(column) for column in list(zip(*group, strict=True))[3:])
    what = what if len(what) <= LONGEST else f"{what[: LONGEST - 3]}..."
    return f"{count:6,} of {what:22s} {sent / GIB:9.2f} GiB {seconds:9.3f} s"


def describe_time(plan: TrainingPlan) -> list[str]:
    """Returns lines about the times of a step and of the run."""
    bound = plan.roofline
    if bound is None:
        return [_no_time(plan.topology)]
    parts = bound._asdict()
    step, *each, exposed, unit = name_seconds(bound.step, *parts.values(), bound.exposed)
    told = ", ".join(f"{name} {time}" for name, time in zip(parts, each, strict=True))
    return [
        f"a step: at least {step} {unit}, limited by {max(parts, key=parts.get)} ({told} {unit}; {exposed} {unit} if "
        "nothing overlaps)",
        f"MFU: at most {plan.mfu:.1%}",
        f"{plan.steps:,} steps: at least {name_days(plan.days)}",
    ]


def describe_search(options: Sequence[Option], topology: Topology) -> str:
    """Returns a table of the settings that fit."""
    if not options:
        return f"search: no mesh, remat policy or micro-batch fits on {topology.name}"
    lines = [f"search: {len(options)} settings fit on {topology.name}, fastest first"]
    for option in options[:SHOWN]:
        seconds = "" if option.seconds is None else " ".join(name_seconds(option.seconds))
        host = f" ({option.host / GIB:.1f} on the host)" if option.host else ""
        lines.append(f"  {option.memory / GIB:7.1f} GiB {seconds:>11s}  {option.describe()}{host}")
    return "\n".join(lines)


def to_json(plan: TrainingPlan | SamplingPlan) -> dict[str, Any]:
    """Returns plain values of a plan: its parts, and the answers that a reader looks for first."""
    shown = {
        TrainingPlan: (
            "shards",
            "workload",
            "parameters",
            "memory",
            "work",
            "collectives",
            "roofline",
            "steps",
        ),
        SamplingPlan: (
            "mode",
            "shards",
            "windows",
            "costs",
            "parameters",
            "cache",
            "history",
            "memory",
            "seconds",
        ),
    }
    asked = {TrainingPlan: ("fits", "mfu", "days"), SamplingPlan: ("fits", "flops")}
    names = (*asked[type(plan)], *shown[type(plan)])
    values = {name: to_plain(getattr(plan, name)) for name in names}
    return {
        "config": plan.config.name,
        "remat": plan.config.compute.remat,
        "topology": plan.topology.name,
        "usable": plan.topology.chip.usable,
        "total": plan.memory.total,
        "estimate": (plan.estimate or plan.memory).total,
        **values,
    }


def to_plain(value: Any) -> Any:
    """Returns structs as dictionaries and lists, at all levels."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return {name: to_plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def _no_time(topology: Topology) -> str:
    return f"time: the table of peaks has none of a {topology.chip.title}, so none is said"


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {name:24s} {text}" for name, text in rows]
