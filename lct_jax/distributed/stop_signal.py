"""A request to stop, from the system or from the keyboard, as a value that the training loop reads between steps.

Schedulers announce preemption by SIGTERM; people stop a run by Ctrl-C. Either way the step under way is finished and
saved. That takes two steps at most (one may be queued), an evaluation if one is due just then, and a save with its
manifest; the time it took is reported at the end. Before the first step there is nothing to save, and the process ends
at once. A second Ctrl-C also ends it at once.

A notice of preemption may reach only one process, and a save takes all of them. So after every step a collective of
four bytes a device finds the largest signal number that any process has received. The result is read one step later,
when it has arrived: no process waits for another, and all stop after the same step, at most two steps after the signal.
"""

from __future__ import annotations

import functools
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Receives signals from its creation on; `received` is the first one, None without one.

    In a run of several processes no signal is acted upon before the first step: all processes stop together, which
    takes a step.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._several = jax.process_count() > 1
        self._came: float | None = None
        self._deferred = self._several
        self._largest: jax.Array | None = None
        for number in STOPPING:
            signal.signal(number, self._note)

    def defer(self) -> None:
        """Stores a signal from now on instead of ending the process, since there is something to save."""
        self._deferred = True

    def poll(self, mesh: Mesh) -> bool:
        """Returns whether to stop after this step; it is identical on all processes, which must call it after every
        step.

        Args:
            mesh: the mesh over all devices.
        """
        if not self._several:
            return self.received is not None
        before = 0 if self._largest is None else int(self._largest)
        self._largest = _find_largest(self.received or 0, mesh)
        # Another process may have received the signal.
        if before and self.received is None:
            self._note(before, None)
        return before != 0

    def leave(self, workdir: Path) -> None:
        """Ends the process if a signal came, and says which one and how long ago. The state is saved by then.

        The exit code is 0 after SIGTERM, which the scheduler that sent it expects, and 130 after Ctrl-C.
        """
        if self.received is not None:
            seconds = time.monotonic() - self._came
            print(
                f"{workdir}: {self.received.name}, saved {seconds:.1f} s after it came; the same command goes on"
            )
            sys.exit(_exit_code(self.received))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._came = signal.Signals(number), time.monotonic()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self._deferred:
            print(f"{self.received.name} before the first step: nothing to save", file=sys.stderr)
            sys.exit(_exit_code(self.received))


def _exit_code(received: signal.Signals) -> int:
    return 130 if received == signal.SIGINT else 0


def _find_largest(number: int, mesh: Mesh) -> jax.Array:
    """Returns the largest number that any process gives, int32[], on every device."""
    spread = NamedSharding(mesh, P(mesh.axis_names))
    numbers = jax.make_array_from_callback(
        (mesh.size,),
        spread,
        lambda index: np.full(len(range(mesh.size)[index[0]]), number, np.int32),
    )
    return _make_max(mesh)(numbers)


@functools.cache
def _make_max(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(jnp.max, out_shardings=NamedSharding(mesh, P()))
