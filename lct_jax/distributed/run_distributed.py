"""`run_distributed(main)`: a program of one process, or of many that start, fail and end as one.

    if __name__ == "__main__":
        run(run_distributed(main))    # cli.run; the flags are those of process_spec.define_process_flags

Before `main` the processes join over `jax.distributed` and compare code, versions and flags; what `main` raises on one
process ends all of them, each with a line of its own. Only process 0 prints on stdout. A run of one process is `main`
and nothing else.
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

# The beginning of an error of XLA that a lost process may be the reason of.
XLA_STATUS = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED)\\b")
# Seconds, beyond `lost_timeout`, after which JAX has ended a process whose peer is lost.
GRACE = 10.0
ANSWER = 60.0  # seconds for values that every process has at hand
PARTING = 300.0  # seconds to the end of the last one of those that were asked to stop, and save
LAST = 86_400.0  # seconds to the end of the last process: process 0 may write what all have made


def run_distributed(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """Wraps a function of `argv` for a run of any number of processes.

    Exit codes: 2 where an input was wrong on any process, `peers.EXIT_LOST` where a process was lost.
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
    """Calls `work` with the peers of this process, in a child of it where there are any.

    Args:
        alike: whether code, versions and flags must be the same on all processes.
        report: is called in the parent with the spec, the last line and the exit code of a process that failed, and
            returns the exit code that it ends with.
    """
    if spec is None:
        return work(Alone())
    if CHILD not in os.environ:
        return run_child(spec, report)
    sys.stderr = open(  # noqa: SIM115, since it is what the whole program writes to
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
    except (
        SystemExit
    ) as end:  # a stop signal, which all processes have heard of, or a check that failed on all
        peers.part(timeout=PARTING)
        jax.distributed.shutdown()
        sys.stdout.flush()
        os._exit(end.code or 0)  # what is half started would wait for what does not come
    except BaseException as error:
        _fail(peers, error)


def start_jax(spec: ProcessSpec) -> ProcessSpec:
    """Starts `jax.distributed`, before any call of JAX that looks for devices; returns the spec, filled in.

    Raises:
        InputError: process 0 is not reached in time, its port is taken, or JAX detects no cluster.
    """
    logging.set_verbosity(logging.WARNING)  # it tells of every connection
    # A stop signal is agreed on in stop_signal.py; JAX's service would take the signal away.
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
    except Exception as error:  # of no narrower kind: of a metadata server, or an unset variable
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
    """Waits until something listens where process 0 is said to be; process 0 looks whether its port is free."""
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
    # A collective breaks where another process is lost, inside a save for one: the watching thread, or JAX, ends this
    # process then, and says so.
    if XLA_STATUS.match(str(error.__cause__ or error)):
        time.sleep(GRACE + peers.spec.lost_timeout)
    if line is None:
        traceback.print_exception(error)
        line = f"{type(error).__name__}: {error}"
    peers.fail(" ".join(line.split()).removeprefix("error: "), code=code)
