"""Suppresses what the threads of a failed save print, so that the one line about the failure stays visible.

Orbax writes in many threads and tasks. On a full disk each of them fails, after the first error has been raised to the
caller, and prints pages of tracebacks until the process ends. Python also warns of tasks that were thrown away before
they started.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any

# Orbax and its tasks log here.
LOGGERS = ("absl", "asyncio")
NOT_BEGUN = "coroutine .* was never awaited"


class OrbaxSilence:
    """Suppresses errors of other threads, logged or raised, between `begin` and `end`."""

    def __init__(self) -> None:
        self._levels: list[int] | None = None

    def begin(self) -> None:
        """Starts suppressing, unless it has started already."""
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
        """Restores what `begin` changed."""
        if self._levels is not None:
            sys.unraisablehook, threading.excepthook = self._hooks
            self._warnings.__exit__(None, None, None)
            for name, level in zip(LOGGERS, self._levels, strict=True):
                logging.getLogger(name).setLevel(level)
            self._levels = None

    def _show_others(self, unraisable: Any) -> None:
        """Shows all unraisable errors but those of TensorStore about an event loop that was closed by the error."""
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hooks[0](unraisable)
