"""`run_distributed(main)` runs a program on one process, or on many that start, fail and end together.

    if __name__ == "__main__":
        run(run_distributed(main))    # cli.run; the flags are those of process_spec.define_process_flags

Before `main`, the processes join over `jax.distributed` and compare code, versions and flags. An exception of `main` on
one process ends all of them, each with a line of its own. Only process 0 prints on stdout. With one process, nothing
but `main` runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import jax
from absl import logging

from lct_jax.distributed.facts import check_alike, read_facts
from lct_jax.distributed.parent import (
    CHILD,
    Report,
    report_on_stderr,
    run_child,
    tell_parent,
    watch_parent,
)
from lct_jax.distributed.peers import EXIT_LOST, Alone, Peers
from lct_jax.distributed.process_spec import ProcessSpec, read_spec
from lct_jax.errors import InputError, describe
from lct_jax.jax_internals import read_distributed

# An error of XLA that begins like this may be due to a lost process.
XLA_STATUS = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED)\\b")
# Seconds after `lost_timeout` within which JAX ends a process whose peer is lost.
GRACE = 10.0
# Seconds to wait for values that every process has already.
ANSWER = 60.0
# Seconds to wait for the last process after a stop signal, since processes end at different times after a save.
PARTING = 300.0
# Seconds to wait for the last process at the end of the program: process 0 may still write what all have computed.
LAST = 86_400.0


def run_distributed(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """Wraps a function of `argv` for a run of any number of processes.

    The exit code is 2 where an input was wrong on any process, and `peers.EXIT_LOST` where a process was lost.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str]) -> None:
        run_with_peers(lambda peers: main(argv), read_spec(), alike=True)

    return wrapped


def run_with_peers(
    work: Callable[[Peers | Alone], None],
    spec: ProcessSpec | None,
    *,
    alike: bool,
    report: Report = report_on_stderr,
) -> None:
    """Calls `work` with the peers of this process; where there are any, in a child of this process.

    Args:
        work: the function to call.
        spec: this process; None in a run of one process.
        alike: whether code, versions and flags must be the same on all processes.
        report: is called in the parent with the spec, the last line and the exit code of a process that failed, and
            returns the exit code of the parent.
    """
    if spec is None:
        return work(Alone())
    if CHILD not in os.environ:
        return run_child(spec, report)
    # The whole program writes to this file, so that no block closes it.
    sys.stderr = open(  # noqa: SIM115
        int(os.environ[CHILD].split(",")[1]), "w", buffering=1, closefd=False
    )
    joined: list[Peers] = []
    watch_parent(
        spec.lost_timeout,
        lambda why: joined[0].fail_silently(why) if joined else os._exit(EXIT_LOST),
    )
    try:
        spec = start_jax(spec)
    except (InputError, OSError) as error:
        line, code = describe(error)
        tell_parent(text=line.removeprefix("error: "), code=code)
        sys.exit(code)
    peers = Peers(spec, read_distributed().client, _tell_end)
    joined.append(peers)
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere if spec.process else sys.stdout),
    ):
        _run(work, peers, alike)
    return None


def _run(work: Callable[[Peers], None], peers: Peers, alike: bool) -> None:
    spec = peers.spec
    try:
        hosts = peers.meet(timeout=ANSWER)
        tell_parent(process=spec.process, processes=spec.processes, hosts=hosts)
        if alike:
            check_alike(peers, read_facts(), timeout=ANSWER)
        peers.watch()
        work(peers)
        peers.part(timeout=LAST)
        jax.distributed.shutdown()
    # After a stop signal, or after a check that failed, all processes exit.
    except SystemExit as end:
        peers.part(timeout=PARTING)
        jax.distributed.shutdown()
        sys.stdout.flush()
        # Python's own exit would wait for threads whose collectives never finish.
        os._exit(end.code or 0)
    except BaseException as error:
        _fail(peers, error)


def start_jax(spec: ProcessSpec) -> ProcessSpec:
    """Starts `jax.distributed` and returns the spec with its process numbers; no call of JAX may look for devices
    before.

    Raises:
        InputError: process 0 is not reached in time, its port is taken, or JAX detects no cluster.
    """
    # At a lower level JAX logs every connection.
    logging.set_verbosity(logging.WARNING)
    # The processes agree on a stop signal in stop_signal.py; JAX's own service would catch the signal first.
    jax.config.update("jax_enable_preemption_service", False)
    deadline = time.monotonic() + spec.join_timeout
    given = {}
    if spec.address is not None:
        _find_process_0(spec, deadline)
        everywhere = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"
        given = {
            "coordinator_address": spec.address,
            "num_processes": spec.processes,
            "process_id": spec.process,
            "cluster_detection_method": "deactivate",
            "coordinator_bind_address": f"{everywhere}:{spec.port}",
        }
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=max(int(deadline - time.monotonic()), 1),
            heartbeat_timeout_seconds=int(spec.lost_timeout),
            shutdown_timeout_seconds=60,
        )
    # JAX raises no narrower type, such as for a metadata server that fails or a variable that is not set.
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        if isinstance(error, ValueError):
            found = (
                "found no TPU pod, Slurm step, Open MPI job or Kubernetes job, expected one, or "
                "--coordinator=HOST:PORT --processes=N --process_id=I"
            )
        raise InputError(f"--coordinator={spec.address or 'auto'}: {found}") from error
    joined = read_distributed()
    return dataclasses.replace(spec, process=joined.process, processes=joined.processes)


def _find_process_0(spec: ProcessSpec, deadline: float) -> None:
    """Waits until the address of process 0 accepts connections; on process 0, checks that its port is free."""
    if spec.process == 0:
        try:
            return socket.create_server(("", spec.port)).close()
        except OSError as error:
            raise InputError(
                f"{spec.address}: the coordinator cannot listen there ({os.strerror(error.errno)})"
            ) from None
    while True:
        try:
            return socket.create_connection((spec.host, spec.port), timeout=5.0).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"{spec.address}: no coordinator reached within {spec.join_timeout:g} s "
                    f"({error.strerror or error}), expected process 0 to run there and the port to be open"
                ) from None
            time.sleep(0.2)


def _tell_end(text: str, code: int) -> None:
    tell_parent(text=text, code=code)


def _fail(peers: Peers, error: BaseException) -> None:
    line, code = describe(error) or (None, 1)
    # A collective fails where another process is lost, such as inside a save. In that case the watching thread or JAX
    # ends this process during the wait, and names the lost process.
    if XLA_STATUS.match(str(error.__cause__ or error)):
        time.sleep(GRACE + peers.spec.lost_timeout)
    if line is None:
        traceback.print_exception(error)
        line = f"{type(error).__name__}: {error}"
    peers.fail(" ".join(line.split()).removeprefix("error: "), code=code)
