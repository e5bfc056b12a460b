"""Silence for the threads of a save that fails: the one line that says so is not to be buried under theirs.

Orbax writes in many threads and tasks. On a full disk each fails for itself, after the first error has been raised to
the caller, and reports pages of tracebacks, up to the end of the process. Python warns of tasks that were not begun
when they are thrown away.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any

LOGGERS = ("absl", "asyncio")  # of Orbax, and of its tasks
NOT_BEGUN = "coroutine .* was never awaited"


class OrbaxSilence:
    """Errors of other threads, logged or raised, are not shown between `begin` and `end`."""

    def __init__(self) -> None:
        self._levels: list[int] | None = None

    def begin(self) -> None:
        """Silence, unless it is."""
        if self._levels is None:
            self._levels = [logging.getLogger(name).level for name in LOGGERS]
            self._hooks = sys.unraisablehook, threading.excepthook
            self._warnings = warnings.catch_warnings()
            self._warnings.__enter__()
            warnings.filterwarnings("ignore", message=NOT_BEGUN, category=RuntimeWarning)
            sys.unraisablehook, threading.excepthook = self._show_others, lambda _: None
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)

    def end(self) -> None:
        """As before."""
        if self._levels is not None:
            sys.unraisablehook, threading.excepthook = self._hooks
            self._warnings.__exit__(None, None, None)
            for name, level in zip(LOGGERS, self._levels, strict=True):
                logging.getLogger(name).setLevel(level)
            self._levels = None

    def _show_others(self, unraisable: Any) -> None:
        """All but what TensorStore has to tell an event loop that has ended with the error."""
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hooks[0](unraisable)
