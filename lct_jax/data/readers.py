"""Reader processes of batches: they end with their parent, and one that dies or never begins costs one line.

Under a limit of memory a process may wait for ever inside a library, such as OpenBLAS for threads that it could not
start: it neither dies nor reads. So a wait that is long is told, and processes that never gave a batch are ended.
"""

from __future__ import annotations

import gc
import multiprocessing
import re
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import grain
import jax
import numpy as np
from absl import logging

from lct_jax.config import DataConfig
from lct_jax.data.workers import end_with_parent
from lct_jax.errors import InputError
from lct_jax.types import PackedBatch

# After so many seconds without a batch, a warning; after so many before the first one of each process, an error.
_LONG, _TOO_LONG = 60.0, 600.0
_DIED = re.compile(r"Worker process was terminated unexpectedly with exit code (-?\d+)")
_NO_THREAD = "can't start new thread"
_ADVICE = "fewer data.workers need less memory, and 0 reads in threads of this process"


def read_in_processes(stream: grain.IterDataset, data: DataConfig) -> Iterator[PackedBatch]:
    """Yields the batches of a stream in order, read ahead by `data.workers` processes.

    Raises:
        InputError: a process died, could not be started, or gave no batch for ten minutes after its start.
    """
    options = grain.MultiprocessingOptions(
        num_workers=data.workers, per_worker_buffer_size=data.prefetch
    )
    watch = _Watch(data.workers)
    # Without closing, processes would outlive a failed run.
    with closing(iter(stream.mp_prefetch(options, worker_init_fn=_begin))) as batches:
        try:
            while (batch := watch.wait_for(batches)) is not None:
                # A copy, because the caller's last batch would hold shared memory until the program ends, where Python
                # warns that it leaked.
                batch = jax.tree.map(np.array, batch)
                yield batch
        except RuntimeError as error:
            raise _explain(error, watch) from None
        finally:
            watch.end()
    # Grain's last batches are parts of cycles and hold shared memory too.
    gc.collect()


def _begin(_number: int, _count: int) -> None:
    end_with_parent()


class _Watch:
    """Looks once a second, from a thread, how long a batch has been waited for."""

    def __init__(self, workers: int) -> None:
        self.gave_up = False
        self._missing = workers  # Processes take turns, so each has given a batch after so many.
        self._since: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def wait_for(self, batches: Iterator[PackedBatch]) -> PackedBatch | None:
        """Returns the next batch, None at the end."""
        self._since = time.monotonic()
        batch = next(batches, None)
        self._since, self._missing = None, self._missing - 1
        return batch

    def end(self) -> None:
        self._ended.set()

    def _look(self) -> None:
        told = None
        while not self._ended.wait(min(1.0, _LONG)):
            since = self._since
            if since is None:
                continue
            waited = time.monotonic() - since
            if waited > _LONG and told != since:
                told = since
                logging.warning(
                    "data.workers: the processes that read batches gave none for %.0f s%s",
                    waited,
                    _limit(),
                )
            if waited > _TOO_LONG and self._missing > 0:
                self.gave_up = True
                for process in multiprocessing.active_children():
                    if process.name.startswith("grain-process-prefetch"):
                        process.kill()
                return


def _explain(error: RuntimeError, watch: _Watch) -> Exception:
    """Returns the error that a user is meant to read, or the given one where it is none of ours."""
    if watch.gave_up:
        said = f"a process that reads batches gave none in {_TOO_LONG:.0f} s{_limit()}"
    elif died := _DIED.search(str(error)):
        said = (
            f"a process that reads batches ended with exit code {died[1]} (-9: killed from outside, as the system does"
            f" when memory runs out){_limit()}"
        )
    elif _NO_THREAD in str(error):
        said = f"no process or thread that reads batches could be started{_limit()}"
    else:
        return error
    return InputError(f"data.workers: {said}; {_ADVICE}")


def _limit() -> str:
    """Names the limit of memory that this process has, if any."""
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return "" if soft == resource.RLIM_INFINITY else f", under ulimit -v {soft // 1024}"
