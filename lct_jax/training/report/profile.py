"""Traces of some steps by the JAX profiler, for TensorBoard and Perfetto: `--profile=START:STOP`.

WORKDIR/profile/plugins/profile/DATE/   what the devices and the host did in steps START to STOP, both included
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax

from lct_jax.errors import InputError


class Profile:
    """A window of steps to be traced; call `before` and `after` around every step.

    Args:
        steps: "START:STOP", or "" for none.
        folder: the folder to write to.

    Raises:
        InputError: the window is not of that form.
    """

    def __init__(self, steps: str, folder: Path) -> None:
        found = re.fullmatch(r"(\d+):(\d+)", steps)
        if steps and (found is None or not 1 <= int(found[1]) <= int(found[2])):
            raise InputError(
                f"--profile: found {steps!r}, expected START:STOP, two steps counted from 1"
            )
        self._window = range(int(found[1]), int(found[2]) + 1) if found else range(0)
        self._folder, self._tracing = folder, False

    def before(self, step: int) -> jax.profiler.StepTraceAnnotation:
        """Starts the trace where one is due, and returns the context by which tools tell steps apart."""
        # A run may be resumed in the middle of the window.
        if step in self._window and not self._tracing:
            jax.profiler.start_trace(str(self._folder))
            self._tracing = True
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def after(self, step: int, results: Any) -> bool:
        """Ends the trace after its last step, once the step's results are ready; returns whether it did."""
        if not self._tracing or step < self._window.stop - 1:
            return False
        jax.block_until_ready(results)
        self.close()
        return True

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
