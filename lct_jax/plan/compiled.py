"""What the compiler says of a lowered program: the memory of a device by part, or by how much it is too large.

Donated buffers are counted once: a donated state and the one that takes its place share their memory. The total is the
peak before buffers are packed, JAX's `peak_memory_in_bytes`. What the TPU compiler assigns is some more, and it refuses
a program by that: `assigned.py` reads it. JAX's `temp_size_in_bytes` is more still (benchmarks/README.md).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import jax

from lct_jax.errors import InputError

# The TPU compiler has two wordings; what the second calls temporaries includes arguments (benchmarks/README.md).
_TOO_MUCH = re.compile(
    r"(?:Used |required for HLO temporaries \()([\d.]+)([KMGT]?)(?: of [\d.]+[KMGT]? hbm|\) exceeds)"
)
_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Compiled:
    """A compiled program, for one device.

    Attributes:
        arguments, temporaries: bytes; results that share no memory with arguments are among the latter. Both are 0
            where the compiler refused the program for want of memory.
        total: bytes at the peak; where the compiler refused the program, those that it named.
        host: bytes of the host's memory.
        text: the optimised program, or "" where the compiler refused it.
        seconds: how long compiling took.
    """

    arguments: int
    temporaries: int
    total: float
    host: int
    text: str
    seconds: float


def compile_program(lowered: jax.stages.Lowered) -> Compiled:
    """Compiles a program; one that needs too much memory gives a result and no error.

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
        return Compiled(0, 0, total, 0, "", time.perf_counter() - began)
    memory = program.memory_analysis()
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.peak_memory_in_bytes - memory.argument_size_in_bytes,
        total=float(memory.peak_memory_in_bytes),
        host=memory.host_temp_size_in_bytes,
        text=program.as_text(),
        seconds=time.perf_counter() - began,
    )
