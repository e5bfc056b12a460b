"""Runs jobs in worker processes that may die; each process has one job at a time, so a death belongs to one job.

A `ProcessPoolExecutor` is broken as a whole when one of its processes dies, and does not say which job killed it. Here
every worker is an executor of one process. A worker that dies costs its own job and is replaced. Workers end by
themselves when the parent process is gone, however it ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from queue import SimpleQueue
from typing import Any

from lct_jax.errors import InputError
from lct_jax.startup import skip_missing_tpu

_STARTS = 3  # attempts to start a worker
# In seconds. Without memory a process can wait for ever, for threads that a library could not start.
_LONGEST_START = 300.0
_ENDING = (signal.SIGTERM, signal.SIGHUP)  # sent by schedulers, and by a terminal that is closed
_SIGNALLED = 128  # is added to a signal's number by shells


def run_in_workers(
    function: Callable[[Any], Any], jobs: Sequence[Any], *, processes: int
) -> Iterator[Any]:
    """Yields `function(job)` in the order of the jobs.

    Args:
        function: is pickled for the workers, as jobs and results are; it must not raise.
        processes: is the largest number of workers at the same time.

    Raises:
        InputError: no worker can be started, or one does not begin in five minutes. A worker that dies during a job
            gives an `InputError` as its result instead.
    """
    count = min(processes, len(jobs))
    if not count:
        return
    free: SimpleQueue[_Worker] = SimpleQueue()
    workers = [_Worker() for _ in range(count)]
    for worker in workers:
        free.put(worker)

    def do(job: Any) -> Any:
        worker = free.get()
        try:
            return worker.run(function, job)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(count)
    with _end_in_order():
        try:
            yield from threads.map(do, jobs)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.close()


@contextmanager
def _end_in_order() -> Iterator[None]:
    """Lets a request to end take the way of an exception, with the exit code that the signal itself would give.

    A process that a signal ends at once leaves the semaphores of its workers to Python's resource tracker, which warns
    that they leaked. Where a program has a way of its own to take the signal, that stays; so does a second signal.
    """
    usual = threading.current_thread() is threading.main_thread()
    taken = [n for n in _ENDING if usual and signal.getsignal(n) is signal.SIG_DFL]

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(_SIGNALLED + number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


class _Worker:
    """Owns one process, which is started when it is first needed and again after it has died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False
        # Held wherever `_pool` changes: a process that begins while another thread closes the worker is killed too.
        self._lock = threading.Lock()

    def run(self, function: Callable[[Any], Any], job: Any) -> Any:
        """Returns `function(job)`, or an `InputError` if the process died during the job."""
        pool = self._start()
        try:
            return pool.submit(function, job).result()
        except BrokenProcessPool:
            self._discard()
            return InputError(
                "the process that worked on it died: killed from outside, as the system does when memory runs out"
                " (fewer --processes need less), or by a fault of the decoder"
            )

    def close(self) -> None:
        """Kills the process, whatever it is doing, and starts no other."""
        with self._lock:
            self._closed = True
        self._discard()

    def _start(self) -> ProcessPoolExecutor:
        for _ in range(_STARTS):
            try:
                pool, begun = self._open()
                begun.result(timeout=_LONGEST_START)
                return pool
            except TimeoutError:
                self._discard()
                raise InputError(
                    f"--processes: a worker process did not begin in {_LONGEST_START:.0f} s, as it happens under a"
                    " limit of memory (ulimit -v); fewer processes need less"
                ) from None
            except BrokenProcessPool:
                self._discard()
        raise InputError("--processes: no worker process could be started")

    def _open(self) -> tuple[ProcessPoolExecutor, Future[int]]:
        """Returns the executor, and what is done once its process has begun.

        The process is started before a job is sent, so that a death during imports does not count against the job.
        """
        with self._lock:
            if self._closed:
                raise InputError("--processes: no worker process is started after the end")
            if self._pool is None:
                # Processes are not forked, because JAX and the decoders have threads of their own.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
            return self._pool, self._pool.submit(os.getpid)

    def _discard(self) -> None:
        """Kills the process, also one that is still beginning, whose number only the pool knows."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Prepares a worker as its parent is: Ctrl-C is left to the parent, and the worker ends when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    skip_missing_tpu()
    # By default each process would take three quarters of a GPU's memory for itself.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    end_with_parent()


def end_with_parent() -> None:
    """Ends this process when its parent is gone, however that ended."""
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    parent = multiprocessing.parent_process()
    wait([parent.sentinel])
    # The main thread may be inside a decoder or a codec, where it would not notice a request to stop.
    os.kill(os.getpid(), signal.SIGKILL)
