"""Counts programs that are compiled more than once, since training stands still for minutes meanwhile without a line.

JAX reports what it compiles (`jax.monitoring`). A program counts from its second compilation on; it is compiled again
when shapes, dtypes, placement or static arguments of its inputs have changed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from jax import monitoring

EVENT = "/jax/core/compile/backend_compile_duration"


class Recompilations:
    """Counts recompilations from its creation to `close`.

    Args:
        programs: names of functions under `jax.jit` that are to be compiled once each.
    """

    def __init__(self, *programs: str) -> None:
        self.count = 0
        self._names = {f"jit({name})": name for name in programs}
        self._seen: Counter[str] = Counter()
        self._lines: list[str] = []
        monitoring.register_event_duration_secs_listener(self._note)

    def take_lines(self) -> list[str]:
        """Returns a line for every recompilation since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Stops counting."""
        monitoring.unregister_event_duration_listener(self._note)

    def _note(self, event: str, seconds: float, **details: Any) -> None:
        name = self._names.get(str(details.get("fun_name")))
        if event != EVENT or name is None:
            return
        self._seen[name] += 1
        if self._seen[name] > 1:
            self.count += 1
            self._lines.append(
                f"{name}: compiled again, {seconds:.1f} s: shapes, dtypes or placement of its arguments are other than "
                f"before ({self._seen[name]} programs so far)"
            )
