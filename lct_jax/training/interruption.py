"""A request to stop, from the system or from the keyboard, as a value the training loop looks at between steps.

SIGTERM is how schedulers announce preemption; Ctrl-C is how people do. Either way the step under way is finished and
saved, which takes a step and a save. A second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import signal
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Listens from its creation on; `signal` is the first one that came, None before."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in STOPPING:
            signal.signal(number, self._note)

    def adopt(self, number: int) -> None:
        """Takes for its own a signal that another process of the run got; 0 is none."""
        if number and self.signal is None:
            self._note(number, None)

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM, which the scheduler that sent it expects, and 130 after Ctrl-C."""
        return 130 if self.signal == signal.SIGINT else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
