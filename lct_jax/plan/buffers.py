"""What is in memory at the peak of a compiled program: the buffers that are live at the widest moment of its schedule.

`find_peak` reads the text of a scheduled program. A buffer lives from the instruction that makes it to the last one
that reads it; loops work in place, and the peak of a loop's body is added to what is live around the loop. Sizes are
those of stored tiles; what is in a chip's vector memory is left out. The compiler's own assignment packs buffers a
little better or worse: the sum is compared with it in benchmarks/README.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from lct_jax.plan.hlo import Instruction, Program, byte_size, read_program

_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
_OPERAND = re.compile(r"%([\w.\-]+)")
_ALIASES = ("bitcast", "get-tuple-element", "tuple", "while", "optimization-barrier", "conditional")
_IN_PLACE = ("dynamic-update-slice", "scatter")
_BY_NUMBER = ("add", "multiply", "subtract", "select", "negate", "exponential", "maximum", "divide")
_MIXING = {
    "dot",
    "convolution",
    "transpose",
    "gather",
    "scatter",
    "sort",
    "custom-call",
    "slice",
    "reverse",
    "pad",
}
_NO_BUFFER = ("parameter", "constant", "after-all", "partition-id", "replica-id", "iota")


class Buffer(NamedTuple):
    """One array that is live at the widest moment.

    Attributes:
        size: its bytes.
        shape: its dtype and shape.
        op: the operation that it comes from.
    """

    size: float
    shape: str
    op: str


def find_peak(text: str) -> list[Buffer]:
    """Returns the buffers, without arguments, that are live at the widest moment of a program, largest first."""
    program = read_program(text)
    donated = "input_output_alias" in text.partition("\n")[0]
    return sorted(_peak(program, program.entry, {}, donated=donated), key=lambda b: -b.size)


def _peak(
    program: Program, name: str, done: dict[str, list[Buffer]], *, donated: bool = False
) -> list[Buffer]:
    """Returns the buffers of a computation at its widest moment, of those that it makes itself.

    Args:
        done: the results so far, by name of the computation.
        donated: whether its results take the place of arguments.
    """
    if name in done:
        return done[name]
    instructions = program.computations.get(name, [])
    owners = _find_owners(program, instructions)
    last = {
        owner: n
        for n, i in enumerate(instructions)
        for part in _reads(i)
        for owner in owners.get(part, {part})
    }
    given = owners.get(instructions[-1].name, set()) if instructions else set()
    last |= dict.fromkeys(given, len(instructions))
    live: dict[str, Buffer] = {}
    widest: list[Buffer] = []
    most = 0.0
    for number, instruction in enumerate(instructions):
        own = owners[instruction.name] == {instruction.name} and _makes_buffer(instruction)
        if own and not (donated and instruction.name in given):
            buffer = _buffer(instruction)
            if _works_in_place(program, instruction):
                dying = [
                    n for n, b in live.items() if last.get(n) == number and b.size == buffer.size
                ]
                live = {n: b for n, b in live.items() if n not in dying[:1]}
            live[instruction.name] = buffer
        inside = [b for body in _bodies(instruction) for b in _peak(program, body, done)]
        total = sum(b.size for b in live.values()) + sum(b.size for b in inside)
        if total > most:
            most, widest = total, [*live.values(), *inside]
        live = {n: b for n, b in live.items() if last.get(n, -1) > number}
    done[name] = widest
    return widest


def _works_in_place(program: Program, i: Instruction) -> bool:
    """Returns whether the result may overwrite an operand that nothing reads afterwards, because it is elementwise."""
    if i.opcode != "fusion":
        return i.opcode in _BY_NUMBER
    inside = {x.opcode for body in i.called for x in program.computations.get(body, [])}
    return not inside & _MIXING


def _find_owners(program: Program, instructions: list[Instruction]) -> dict[str, set[str]]:
    """Returns the buffers that hold the value of each instruction: its own, or those of the values that it renames."""
    owners: dict[str, set[str]] = {}
    for i in instructions:
        parts = [owners.get(part, {part}) for part in _reads(i)]
        if i.opcode in _ALIASES or i.opcode.endswith("-done"):
            owners[i.name] = set().union(*parts)
        elif i.opcode in _IN_PLACE or _ends_in_place(program, i):
            owners[i.name] = _same_shape(i, instructions, owners)
        else:
            owners[i.name] = {i.name}
    return owners


def _same_shape(
    i: Instruction, instructions: list[Instruction], owners: dict[str, set[str]]
) -> set[str]:
    shapes = {other.name: other.shape for other in instructions}
    for part in _reads(i):
        if shapes.get(part) == i.shape:
            return owners.get(part, {part})
    return {i.name}


def _ends_in_place(program: Program, i: Instruction) -> bool:
    if i.opcode != "fusion":
        return False
    bodies = [program.computations.get(body, []) for body in i.called]
    return any(
        body
        and any(
            x.opcode in _IN_PLACE and x.shape.split("{")[0] == i.shape.split("{")[0] for x in body
        )
        for body in bodies
    )


def _reads(i: Instruction) -> list[str]:
    return _OPERAND.findall(_inside(i.rest))


def _inside(rest: str) -> str:
    """Returns the operands: the text up to the bracket that closes them."""
    depth = 1
    for at, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return rest[:at]
    return rest


def _bodies(i: Instruction) -> Iterator[str]:
    return iter(i.called if i.opcode in ("while", "call", "conditional", "async-start") else ())


def _makes_buffer(i: Instruction) -> bool:
    return (
        i.opcode not in _NO_BUFFER and i.opcode not in _ALIASES and not i.opcode.endswith("-done")
    )


def _buffer(i: Instruction) -> Buffer:
    arrays = [(_stored(*part), f"{part[0]}[{part[1]}]") for part in _SHAPE.findall(i.shape)]
    largest, shape = max(arrays, default=(0.0, ""))
    # An asynchronous start holds its operand, which is live anyway, and its result.
    size = largest if i.opcode.endswith("-start") else sum(size for size, _ in arrays)
    return Buffer(size, shape, i.op)


def _stored(dtype: str, sides: str, order: str, layout: str) -> float:
    """Returns the bytes of an array as stored, its last axes padded to tiles; 0 where it is not in main memory."""
    if "S(" in layout:
        return 0.0
    shape = [int(side) for side in sides.split(",") if side]
    minor = [int(axis) for axis in order.split(",") if axis]
    if tile := re.match(r"T\(([\d,]+)\)", layout):
        for side, axis in zip(reversed(tile[1].split(",")), minor, strict=False):
            shape[axis] = -(-shape[axis] // int(side)) * int(side)
    return float(byte_size(dtype) * math.prod(shape))
