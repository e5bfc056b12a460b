r"""Which collectives of `lct_3b`'s training step run beside other work, by the compiler's schedule.

    python -m benchmarks.exposed_collectives [--only=v5p_9,v5p_9_before]

For nine full shots a row and for one, on v5p:4x4x4 and v6e:8x8, with `COMPILER_OPTIONS` and without them ("before"), it
compiles the step without a TPU and reads the schedule of its loops. A collective that is begun and ended apart hides as
many seconds as the instructions between take at least: what they read and write at the chip's bandwidth, or without
limit where a matrix product or a kernel is among them. Seconds are those of the links, from published rates
(`lct_jax.plan.links`); what is hidden is a bound from the schedule, and no TPU has shown it.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from absl import flags

from lct_jax.cli import load_config, run
from lct_jax.config import Config, freeze
from lct_jax.distributed.sharding import COMPILER_OPTIONS
from lct_jax.errors import InputError
from lct_jax.plan import hlo
from lct_jax.plan.assigned import compile_until_assigned
from lct_jax.plan.links import exchange_seconds, find_axis_links, gather_seconds
from lct_jax.plan.refine import lower_planned
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.training import TrainingPlan, plan_training
from lct_jax.plan.workload import SceneTarget

ONLY = flags.DEFINE_list("only", [], "Names of cases; all without it.")

CONFIG = Path(__file__).parents[1] / "configs/lct_3b.py"
CASES = {
    f"{chip}_{shots}{ending}": (topology, shots, not ending)
    for chip, topology in (("v5p", "v5p:4x4x4"), ("v6e", "v6e:8x8"))
    for shots in (9, 1)
    for ending in ("_before", "")
}
# Rows of one full shot, in multiples of what kernels and meshes divide well; as many as keep the tokens of a step.
ONE_SHOT = {"rows": 576, "video_tokens": 29_696, "text_tokens": 1_536, "groups": 8, "max_shots": 1}
# Instructions that cost nothing, or that are themselves on their way.
FREE = ("get-tuple-element", "tuple", "bitcast", "constant", "parameter", "after-all")
PRODUCTS = ("convolution", "dot")
KERNEL = "tpu_custom_call"


class Share(NamedTuple):
    """Seconds of the links for all collectives of a kind in a step, those hidden, and bytes, at once apart or not."""

    count: int
    sent: float
    apart: float
    seconds: float
    hidden: float


def make_plan(name: str) -> TrainingPlan:
    """Returns the plan of a case."""
    topology, shots, _ = CASES[name]
    config: Config = freeze(load_config(str(CONFIG)))
    if shots == 1:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **ONE_SHOT))
    return plan_training(config, parse_topology(topology), SceneTarget(shots=shots), steps=1)


def lower_case(name: str) -> jax.stages.Lowered:
    """Returns the step of a case, lowered; it changes the compiler's options for the rest of its process."""
    if not CASES[name][2]:
        COMPILER_OPTIONS.clear()
    return lower_planned(make_plan(name))


class Reader:
    """Reads the collectives of a scheduled program.

    Args:
        text: the program. plan: of the step that it computes.
    """

    def __init__(self, text: str, plan: TrainingPlan) -> None:
        self.plan, self.program = plan, hlo.read_program(text)
        bodies = self.program.computations
        marked = lambda mark: {n for n, b in bodies.items() if any(mark in i.rest for i in b)}
        self.begins, self.ends = marked("AsyncCollectiveStart"), marked("AsyncCollectiveDone")
        kinds = hlo.KINDS
        self.inside = {n: i for n, b in bodies.items() for i in b if i.opcode in kinds}
        self.heavy = {
            n for n, b in bodies.items() if any(i.opcode in PRODUCTS or KERNEL in i.rest for i in b)
        }

    def sum_kinds(self) -> dict[tuple[str, str], Share]:
        """Returns the sums of all collectives in a step, by kind and axis."""
        found: dict[tuple[str, str], Share] = collections.defaultdict(lambda: Share(0, 0, 0, 0, 0))
        for body, turns in self._list_loops():
            for at, instruction in enumerate(body):
                if (inner := self._find_inner(instruction)) is None:
                    continue
                kind, axis, sent = self._measure(inner, instruction)
                if axis:
                    end = self._find_end(body, at, inner)
                    seconds = self._time(kind, axis, sent)
                    hidden = min(seconds, self._work(body[at + 1 : end])) if end else 0.0
                    parts = (1, sent, sent * bool(end), seconds, hidden)
                    sums = zip(found[kind, axis], parts, strict=True)
                    found[kind, axis] = Share(*(total + turns * part for total, part in sums))
        return found

    def _list_loops(self) -> Iterator[tuple[list[hlo.Instruction], int]]:
        """Yields the entry and the bodies of loops, with the number of times that each runs."""
        todo = [(self.program.entry, 1)]
        while todo:
            name, turns = todo.pop()
            body = self.program.computations.get(name, [])
            yield body, turns
            for i in body:
                if i.opcode in ("while", "call", "conditional"):
                    inner = hlo.count_turns(i.rest, self.program) if i.opcode == "while" else 1
                    todo += [(called, turns * inner) for called in i.called]

    def _find_inner(self, i: hlo.Instruction) -> hlo.Instruction | None:
        """Returns the collective that an instruction is or begins."""
        if i.opcode.removesuffix("-start") in hlo.KINDS:
            return i
        called = [n for n in i.called if n in self.inside]
        if i.opcode not in ("fusion", "async-start") or not called:
            return None
        goes_on = i.opcode == "fusion" and called[0] not in self.begins
        if goes_on and (called[0] in self.ends or self._is_begun(self.inside[called[0]])):
            return None
        return self.inside[called[0]]

    def _is_begun(self, inner: hlo.Instruction) -> bool:
        return any(
            hlo.read_channel(self.inside[n]) == hlo.read_channel(inner)
            and self.inside[n].opcode == inner.opcode
            for n in self.begins & self.inside.keys()
        )

    def _find_end(self, body: list[hlo.Instruction], at: int, inner: hlo.Instruction) -> int | None:
        """Returns the place of the instruction that ends a collective begun at `at`; None if it does both."""
        i = body[at]
        later = range(at + 1, len(body))
        if i.opcode.endswith("-start"):
            reads = re.compile(rf"%{re.escape(i.name)}\b")
            done = (k for k in later if body[k].opcode.endswith("-done"))
            return next((k for k in done if reads.match(body[k].rest)), None)
        if i.opcode != "fusion" or not set(i.called) & self.begins:
            return None
        channel = hlo.read_channel(inner)
        ends = lambda n: n in self.ends and hlo.read_channel(self.inside.get(n, i)) == channel
        return next((k for k in later if any(map(ends, body[k].called))), None)

    def _measure(self, inner: hlo.Instruction, i: hlo.Instruction) -> tuple[str, str, float]:
        shards = self.plan.shards
        size, axis = hlo.find_group(inner.rest, data=shards.data, seq=shards.seq)
        kind = inner.opcode.removesuffix("-start")
        given = hlo.measure(inner, kind)
        if any(n.startswith("all-reduce-scatter") for n in i.called):
            kind, given = "reduce-scatter", given / max(size, 1)
        return kind, axis if size > 1 else "", hlo.count_sent(kind, given, max(size, 1))

    def _time(self, kind: str, axis: str, sent: float) -> float:
        plan = self.plan
        links = find_axis_links(plan.topology, plan.shards, "data" if axis == "both" else axis)
        seconds = exchange_seconds if kind == "all-to-all" else gather_seconds
        return seconds(plan.topology.chip, links, sent)

    def _work(self, between: list[hlo.Instruction]) -> float:
        """Returns the seconds that instructions take at least; infinite with a product or a kernel."""
        moved = 0.0
        for i in between:
            if KERNEL in i.rest or i.opcode in (*PRODUCTS, "while") or set(i.called) & self.heavy:
                return float("inf")
            if i.opcode not in FREE and not i.opcode.endswith(("-start", "-done")):
                moved += 2 * hlo.count_bytes(i.shape)  # what it writes, and as much that it reads
        return moved / self.plan.topology.chip.bandwidth


def main(argv: Sequence[str]) -> None:
    del argv
    unknown = sorted({*ONLY.value} - {*CASES})
    if unknown:
        raise InputError(f"--only: found {unknown[0]!r}, expected names among {', '.join(CASES)}")
    print("| case | collective | in a step | GiB sent | begun apart | links, s | hidden, s |")
    print("|---|---|---|---|---|---|---|")
    for name in CASES:
        if ONLY.value and name not in ONLY.value:
            continue
        text = compile_until_assigned(partial(lower_case, name)).text
        for (kind, axis), found in sorted(Reader(text, make_plan(name)).sum_kinds().items()):
            if found.sent < 2**26:  # 64 MiB
                continue
            print(
                f"| {name} | {kind} over {axis} | {found.count:,} | {found.sent / 2**30:.2f} "
                f"| {found.apart / found.sent:.0%} | {found.seconds:.2f} | {found.hidden:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    run(main)
