"""An optimised program read as text: its computations, and its collectives and how often they run.

Instructions in the body of a loop count once for every iteration.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:calls|body|to_apply|called_computations|branch_computations)=\{?(%?[\w.\-]+(?:, %?[\w.\-]+)*)"
)
_TURNS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_BEGINS = "AsyncCollectiveStart"
_CHANNEL = re.compile(r"channel_id=(\d+)")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[[\d,]+\](T\([\d,]+\))?")
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s16": 2,
    "u16": 2,
    "f32": 4,
    "s32": 4,
    "u32": 4,
}


class Traffic(NamedTuple):
    """Collectives of one kind, axis and place in the program.

    Attributes:
        kind: such as "all-gather"; a fused all-reduce that keeps its own part counts as "reduce-scatter".
        axis: "data", "seq" or "both".
        count: how many run.
        sent: bytes that a device sends in all of them.
        hidden: whether other work may run meanwhile, because the program starts and ends it separately.
        op: the operation that it comes from.
    """

    kind: str
    axis: str
    count: int
    sent: float
    hidden: bool
    op: str


class Instruction(NamedTuple):
    """One line of a computation; `rest` is the text after its opening bracket."""

    name: str
    shape: str
    opcode: str
    rest: str

    @property
    def called(self) -> list[str]:
        """The names of the computations that it runs."""
        return [
            n.strip().lstrip("%") for found in _CALLED.findall(self.rest) for n in found.split(",")
        ]

    @property
    def op(self) -> str:
        """The operation of the source that it comes from, without the prefix that all operations share."""
        name = _NAME.search(self.rest)
        return re.sub(r"jit\((?:step|main|run_steps)\)/", "", name[1]) if name else ""


class Program(NamedTuple):
    """A program as instructions by computation, and the name of the computation that it begins with."""

    computations: dict[str, list[Instruction]]
    entry: str


def read_program(text: str) -> Program:
    """Returns the text of a program as computations and instructions."""
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    entry = ""
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[1], [])
            entry = head[1] if line.startswith("ENTRY") else entry
        elif found := _INSTRUCTION.match(line):
            current.append(Instruction(*found.groups()))
    return Program(computations, entry)


def byte_size(dtype: str) -> int:
    """Returns the bytes of a number, by its dtype's name in a program."""
    return _BYTES.get(dtype, 4)


def find_collectives(text: str, *, data: int, seq: int) -> list[Traffic]:
    """Returns the collectives of a program on a mesh of `data` x `seq` devices, most bytes first; equal ones are
    merged.
    """
    program = read_program(text)
    starts = {n for n, body in program.computations.items() if any(_BEGINS in i.rest for i in body)}
    # In dumps, an asynchronous instruction calls a computation of its own.
    called = {
        n
        for body in program.computations.values()
        for i in body
        if i.opcode == "async-start"
        for n in i.called
    }
    begun = {
        (i.opcode, read_channel(i))
        for name in starts
        for i in program.computations[name]
        if i.opcode in KINDS
    }
    found: dict[tuple[str, str, bool, str], list[float]] = collections.defaultdict(lambda: [0, 0.0])
    for instruction, turns, inside in walk(program):
        kind = instruction.opcode.removesuffix("-start")
        apart = inside in starts or inside in called
        # A collective that one fusion begins is listed again in the fusions that continue or end it.
        if kind not in KINDS or (not apart and (kind, read_channel(instruction)) in begun):
            continue
        size, axis = find_group(instruction.rest, data=data, seq=seq)
        if size == 1:
            continue
        hidden = apart or instruction.opcode.endswith("-start")
        given = measure(instruction, kind)
        # In such a fusion each device keeps its part of the sum.
        if inside.startswith("all-reduce-scatter"):
            kind, given = "reduce-scatter", given / size
        key = kind, axis, hidden, instruction.op
        found[key][0] += turns
        found[key][1] += turns * count_sent(kind, given, size)
    sent = [Traffic(k, a, int(n), b, h, op) for (k, a, h, op), (n, b) in found.items()]
    return sorted(sent, key=lambda s: -s.sent)


def walk(program: Program) -> Iterator[tuple[Instruction, int, str]]:
    """Yields all instructions, the iterations of the loops around them, and their computation.

    An instruction comes once for every place that runs its computation.
    """
    todo = [(program.entry, 1)]
    while todo:
        name, turns = todo.pop()
        for instruction in program.computations.get(name, ()):
            yield instruction, turns, name
            loops = instruction.opcode == "while"
            inner = turns * (count_turns(instruction.rest, program) if loops else 1)
            todo += [(called, inner) for called in instruction.called]


def count_turns(rest: str, program: Program) -> int:
    """Returns the iterations of a loop: a stated count, or the constant of its condition; 1 where neither is known."""
    if known := _TURNS.search(rest):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", rest)
    numbers = [
        int(part.group(1))
        for found in program.computations.get(condition[1] if condition else "", ())
        if found.opcode == "constant" and (part := re.match(r"(\d+)\)", found.rest))
    ]
    return max(numbers, default=1)


def read_channel(instruction: Instruction) -> str:
    """Returns the number by which the parts of a collective know each other, or ""."""
    found = _CHANNEL.search(instruction.rest)
    return found[1] if found else ""


def find_group(rest: str, *, data: int, seq: int) -> tuple[int, str]:
    """Returns the devices of a group, and its mesh axis; devices with neighbouring numbers are along `seq`."""
    if listed := _LISTED.search(rest):
        members = [int(part) for part in listed[1].split(",")]
        size, near = len(members), len(members) > 1 and members[1] - members[0] == 1
    elif named := _NAMED.search(rest):
        sides = [
            (name.strip(), int(side))
            for name, side in (part.split("=") for part in named[1].split(","))
        ]
        taken = [name.strip() in named[2].split(",") for name, _ in sides]
        size = math.prod(side for (_, side), t in zip(sides, taken, strict=True) if t)
        behind = math.prod(side for (_, side), t in zip(sides, taken, strict=True) if not t)
        near = taken[-1] or behind == 1
    elif iota := _IOTA.search(rest):
        size, near = int(iota[2]), iota[3] is None
    else:
        return (1, "") if "source_target_pairs" not in rest else (2, "seq")
    if size == data * seq and min(data, seq) > 1:
        return size, "both"
    return size, "seq" if size == seq and (near or data != seq) else "data"


def measure(instruction: Instruction, kind: str) -> float:
    """Returns the bytes of a collective's result; a started one also holds its operand, which is not counted."""
    arrays = _list_bytes(instruction.shape)
    if instruction.opcode.endswith("-start") and kind != "all-reduce":
        return float(max(arrays, default=0))
    return float(sum(arrays))


def count_bytes(shape: str) -> int:
    """Returns the bytes of all arrays of a result."""
    return sum(_list_bytes(shape))


def _list_bytes(shape: str) -> list[int]:
    return [_bytes(*part) for part in _ARRAY.findall(shape)]


def _bytes(dtype: str, sides: str) -> int:
    return byte_size(dtype) * math.prod(int(side) for side in sides.split(",") if side)


def count_sent(kind: str, size: float, group: int) -> float:
    """Returns the bytes that a device sends, from those of the collective's result."""
    others = (group - 1) / group
    return {
        "all-gather": size * others,
        "all-to-all": size * others,
        "all-reduce": 2 * size * others,
        "reduce-scatter": size * (group - 1),
        "collective-permute": size,
    }[kind]
