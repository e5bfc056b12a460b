"""A request to stop, from the system or from the keyboard, as a value the training loop looks at between steps.

SIGTERM is how schedulers announce preemption; Ctrl-C is how people do. Either way the step under way is finished and
saved: that takes two steps at most (one may be queued), an evaluation if one is due just then, and a save with its
manifest; how long it took is said at the end. Before the first step there is nothing to save, and the process ends at
once. So it does at a second Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Listens from its creation on; `signal` is the first one that came after `defer`, None before."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._came: float | None = None
        self._deferred = False
        for number in STOPPING:
            signal.signal(number, self._note)

    def defer(self) -> None:
        """From now on there is something to save: a signal is noted, and the loop ends when it sees it."""
        self._deferred = True

    def adopt(self, number: int) -> None:
        """Takes for its own a signal that another process of the run got; 0 is none."""
        if number and self.signal is None:
            self._note(number, None)

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM, which the scheduler that sent it expects, and 130 after Ctrl-C."""
        return 130 if self.signal == signal.SIGINT else 0

    def describe(self) -> str:
        """What came, once the state is saved, and how long ago."""
        return f"{self.signal.name}, saved {time.monotonic() - self._came:.1f} s after it came"

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._came = signal.Signals(number), time.monotonic()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self._deferred:
            print(f"{self.signal.name} before the first step: nothing to save", file=sys.stderr)
            sys.exit(self.exit_code)
