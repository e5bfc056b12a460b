"""Lists what a compiled program sends between devices, from its text."""

from __future__ import annotations

import re
from typing import NamedTuple

KINDS = ("all-gather", "all-to-all", "all-reduce", "reduce-scatter", "collective-permute")
_LINE = re.compile(rf"= (\(?[^=]*?) ({'|'.join(KINDS)})(-start)?\(")
_SHAPE = re.compile(r"([a-z]+\d+)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One instruction: its kind, the dtype and shape of each result, and whether it is inside the scan over layers."""

    kind: str
    results: tuple[tuple[str, tuple[int, ...]], ...]
    in_layer: bool


def list_collectives(program: str) -> list[Collective]:
    """Returns all collectives of a compiled program, in the order of its text."""
    found = []
    for line in program.splitlines():
        match = _LINE.search(line)
        if match:
            results = tuple(
                (dtype, tuple(int(side) for side in sides.split(",") if side))
                for dtype, sides in _SHAPE.findall(match[1])
            )
            if match[3] and match[2] != "all-reduce":
                # One that is begun apart also lists its operands, before the results, and numbers of its own.
                arrays = [(dtype, shape) for dtype, shape in results if shape]
                results = tuple(arrays[len(arrays) // 2 :])
            found.append(Collective(match[2], results, "/while/body/" in line))
    return found
