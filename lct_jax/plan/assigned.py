"""What the TPU compiler assigns to a program, without its minutes for the code of kernels.

The compiler settles the schedule and the memory of a program in some seconds, writes both where XLA's dump is asked for
(`--xla_dump_to`), and then makes code for minutes, which changes neither. So the program is compiled in a process of
its own, which is ended as soon as the files are there.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax

from lct_jax.data.workers import end_with_parent
from lct_jax.errors import InputError
from lct_jax.plan.compiled import Compiled, compile_program

PROGRAM = "after_optimizations.txt"
ASSIGNMENT = "after_optimizations-buffer-assignment.txt"
REPORT = "after_optimizations-memory-usage-report.txt"  # is written behind the others
PAUSE = 0.25  # seconds between two looks
# XLA's number of the host's memory; that of the chip is "default".
HOST = r"\S+ \(color=5\)"
DEVICE = r"default \(color=0\)"


def compile_until_assigned(lower: Callable[[], jax.stages.Lowered]) -> Compiled:
    """Returns what the compiler assigns to a program; one that is too large has its memory and its text, too.

    A compiler that writes no such files compiles the program to its end.

    Args:
        lower: makes the program, for a TPU topology, in the other process; it is pickled.

    Raises:
        InputError: the program cannot be lowered, or the compiler refuses it for another reason than its memory.
    """
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_compile, args=(lower, folder, answer), daemon=True)
        process.start()
        answer.close()
        try:
            name, before = _receive(answers), 0
            while not answers.poll(PAUSE):
                reports = Path(folder).glob(f"*{name}*{REPORT}")
                size = sum(path.stat().st_size for path in reports)
                # The report is whole when it has grown no more.
                if size and size == before:
                    return _read(Path(folder), name, time.perf_counter() - began)
                before = size
            return _receive(answers)
        finally:
            process.kill()
            process.join()


def _compile(lower: Callable[[], jax.stages.Lowered], folder: str, answer: Connection) -> None:
    """Sends the name of the program, then what compiling it to its end gives; or an InputError."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    end_with_parent()
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{given} --xla_dump_to={folder} --xla_dump_hlo_as_text=true"
    try:
        lowered = lower()
        answer.send(lowered.compiler_ir().operation.attributes["sym_name"].value)
        answer.send(compile_program(lowered))
    except InputError as error:
        answer.send(error)


def _receive(answers: Connection) -> Any:
    try:
        found = answers.recv()
    except EOFError:
        raise InputError(
            "--compile: the compiler's process died, as it does where the system ends it for want of memory"
        ) from None
    if isinstance(found, InputError):
        raise found
    return found


def _read(folder: Path, name: str, seconds: float) -> Compiled:
    text = lambda ending: min(folder.glob(f"*{name}*{ending}")).read_text()
    report = text(REPORT)
    arguments, total = sum_arguments(text(ASSIGNMENT)), read_total(report, DEVICE)
    return Compiled(
        arguments=arguments,
        temporaries=total - arguments,
        total=float(total),
        host=read_total(report, HOST),
        text=text(PROGRAM),
        seconds=seconds,
    )


def sum_arguments(assignment: str) -> int:
    """Returns the bytes of a program's arguments in the chip's memory, from the compiler's list of buffers."""
    found = re.findall(r"^allocation \d+: size (\d+), parameter ", assignment, re.MULTILINE)
    return sum(map(int, found))


def read_total(report: str, space: str) -> int:
    """Returns the bytes of one memory from the compiler's report; 0 where the program has nothing there."""
    found = re.search(rf"^Memory Space: {space}\nTotal bytes: (\d+)", report, re.MULTILINE)
    return int(found[1]) if found else 0
