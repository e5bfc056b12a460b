"""`together(main)`: a program of one process, or of many that start, fail and end as one.

    if __name__ == "__main__":
        run(together(main))    # cli.run; the flags are those of place.define_place

Before `main` come the roll call, the comparison of code, versions and flags, and `jax.distributed`; what `main` raises
on one process ends all of them, each with a line of its own. Only process 0 prints on stdout. A run of one process is
`main` and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import jax
from absl import logging

from lct_jax.errors import InputError, describe
from lct_jax.hosts.coordinator import EXIT_LOST
from lct_jax.hosts.facts import check_alike, read_facts
from lct_jax.hosts.place import Place, read_place
from lct_jax.hosts.team import Team, join

GRACE = 10.0  # seconds in which a loss is known that made a collective fail
ANSWER = 60.0  # seconds for values that every process has at hand
PARTING = 300.0  # seconds to the end of the last one of those that were asked to stop, and save
LAST = 86_400.0  # seconds to the end of the last process: process 0 may write what all have made


def together(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """Wraps a function of `argv` for a run of any number of processes.

    Exit codes: 2 where an input was wrong on any process, `coordinator.EXIT_LOST` where a process was lost.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str]) -> None:
        place = read_place()
        if place is None or place.processes == 1:
            main(argv)
            return
        try:
            team = join(place)
        except (InputError, OSError) as error:
            line, code = describe(error)
            print(f"{place.name}: {line}", file=sys.stderr)
            sys.exit(code)
        try:
            check_alike(team, read_facts(), timeout=ANSWER)
            start_jax(place, service=team.service)
            with (
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(nowhere if place.process else sys.stdout),
            ):
                main(argv)
            _part(team, timeout=LAST)
        except SystemExit:  # an interruption, of which all know, and leave
            _part(team, timeout=PARTING)
            raise
        except BaseException as error:
            _fail(team, error)

    return wrapped


def start_jax(place: Place, *, service: str) -> None:
    """Starts `jax.distributed`, before any other call of JAX that looks for devices."""
    logging.set_verbosity(logging.WARNING)  # it tells of every connection
    # A notice of preemption is agreed on in training/interruption.py; JAX's would take the signal away.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        service,
        place.processes,
        place.process,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        # Everyone is there; and the coordinator watches, sooner than this.
        heartbeat_timeout_seconds=int(place.lost_timeout) + 60,
        shutdown_timeout_seconds=60,
        # Process 0 would start the service. Ours runs beside the coordinator, so this one gets an address of no use.
        coordinator_bind_address="localhost:0",
    )


def _part(team: Team, *, timeout: float) -> None:
    """Leaves with the others; those that do not leave in time must end all the same."""
    try:
        team.gather("the end", 0, timeout=timeout)
    except InputError as error:
        team.fail(f"error: stopped before the others ({error})", code=EXIT_LOST)
    jax.distributed.shutdown()
    team.leave()


def _fail(team: Team, error: BaseException) -> None:
    line, code = describe(error) or (None, 1)
    if line is None or error.__cause__ is not None:
        # A collective breaks where another process is lost, inside a save for one: then that is what there is to say.
        lost = team.wait_for_loss(GRACE)
        if lost is not None:
            team.end(lost)
    if line is None:
        traceback.print_exception(error)
        line = f"error: {type(error).__name__}: {error}"
    team.fail(" ".join(line.split()), code=code)
