"""Where memory and cycles of a compiled program go, read from its text: what `--read` shows.

The cycle estimates are the compiler's own; it has none for kernels and collectives.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable
from typing import NamedTuple

from lct_jax.costs.chips import GIB
from lct_jax.plan.buffers import find_peak
from lct_jax.plan.hlo import read_program, walk

_CYCLES = re.compile(r'estimated_cycles":"(\d+)"')
# The compiler gives this many cycles or more to what it has no estimate for.
_UNKNOWN = 2**62
# Buffers and operations that are shown.
MOST = 24
# These map kinds of work to the operations that end the name of a fusion. What moves or joins arrays is a copy;
# an exchange's fusion copies what the exchange sends.
KINDS = {
    "matrix products": ("dot_general", "conv_general_dilated"),
    "conversions of dtype": ("convert_element_type", "convert"),
    "tokens by index": ("gather", "scatter", "scatter-add", "sort"),
    # What the compiler gives no name is a copy of its own.
    "copies": (
        *("", "all_to_all", "broadcast_in_dim", "concatenate", "copy", "dynamic_slice"),
        *("dynamic_update_slice", "pad", "reshape", "slice", "squeeze", "stack"),
        *("transpose", "while"),
    ),
}
OTHER = "norms, modulation and other arithmetic"


class Spent(NamedTuple):
    """Cycles of the fusions that come from one operation, as the compiler estimates them."""

    op: str
    count: int
    cycles: int

    @property
    def kind(self) -> str:
        """The kind of work, by the last operation of its name."""
        last = self.op.split(";")[0].rsplit("/", 1)[-1]
        # The compiler numbers its own operations.
        last = re.sub(r"\.\d+$", "", last).removesuffix("_fusion")
        return next((kind for kind, names in KINDS.items() if last in names), OTHER)


def rank_cycles(text: str) -> list[Spent]:
    """Returns where the compiler expects time to be spent, outside kernels and collectives, most first."""
    found: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for instruction, turns, _ in walk(read_program(text)):
        cycles = _CYCLES.search(instruction.rest)
        if cycles and int(cycles[1]) < _UNKNOWN:
            found[instruction.op][0] += turns
            found[instruction.op][1] += turns * int(cycles[1])
    return sorted((Spent(op, *both) for op, both in found.items()), key=lambda s: -s.cycles)


def share_kinds(cycles: Iterable[Spent]) -> dict[str, float]:
    """Returns the share of every kind of work in cycles, largest first."""
    found: dict[str, int] = collections.defaultdict(int)
    for spent in cycles:
        found[spent.kind] += spent.cycles
    total = sum(found.values()) or 1
    return {k: c / total for k, c in sorted(found.items(), key=lambda item: -item[1])}


def describe_program(text: str) -> str:
    """Returns a table of the peak memory of a program, and of where the compiler expects its cycles to be spent."""
    peak, cycles = find_peak(text), rank_cycles(text)
    total = sum(spent.cycles for spent in cycles) or 1
    size = sum(buffer.size for buffer in peak)
    lines = ["", f"the widest moment: {size / GIB:.3f} GiB beside the arguments, GiB"]
    lines += [f"  {b.size / GIB:9.3f} {b.shape:28s} {b.op}" for b in peak[:MOST]]
    lines += [
        "",
        "cycles of fusions as the compiler estimates them (kernels and collectives have none), million",
    ]
    lines += [
        f"  {s.cycles / 1e6:9.1f} {s.cycles / total:5.1%} {s.count:6,} x {s.op}"
        for s in cycles[:MOST]
    ]
    lines += ["", "of all of them by kind of work"]
    lines += [f"  {share:5.1%} {kind}" for kind, share in share_kinds(cycles).items()]
    return "\n".join(lines)
