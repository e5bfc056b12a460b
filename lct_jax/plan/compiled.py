"""What the compiler says of a lowered program: memory of a device by part, or by how much it is too large.

A lowered program enters, `Compiled` leaves. Buffers that are given up are counted once: a donated state and the one
that takes its place share their memory.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import jax

from lct_jax.errors import InputError

_TOO_MUCH = re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm")
_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Compiled:
    """A compiled program, of one device.

    Attributes:
        arguments, results, temporaries: bytes; results without those that share memory with arguments. All are 0 but
            `total` where the compiler gave up for want of memory.
        total: bytes that the program needs. text: the optimised program, "" where there is none.
        seconds: that compiling took.
    """

    arguments: int
    results: int
    temporaries: int
    total: float
    text: str
    seconds: float


def compile_program(lowered: jax.stages.Lowered) -> Compiled:
    """Compiles; too large a program is an answer and no error.

    Raises:
        InputError: the compiler refused the program for another reason.
    """
    began = time.perf_counter()
    try:
        program = lowered.compile()
    except Exception as error:
        found = _TOO_MUCH.search(str(error))
        if found is None:
            raise InputError(f"--compile: {error}") from error
        total = float(found[1]) * _UNIT[found[2]]
        return Compiled(0, 0, 0, total, "", time.perf_counter() - began)
    memory = program.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes + results
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        results=results,
        temporaries=memory.temp_size_in_bytes,
        total=float(total),
        text=program.as_text(),
        seconds=time.perf_counter() - began,
    )
