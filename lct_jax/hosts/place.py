"""Which process of how many this one is: by flags, by the environment, or by what JAX knows of the cluster.

--coordinator=HOST:PORT --processes=N --process_id=I      by hand; or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES,
                                                          JAX_PROCESS_ID, one by one where a flag is not given
--coordinator=auto                                        what JAX detects: TPU pods, Slurm, Open MPI, Kubernetes
nothing                                                   auto in a Slurm step or an Open MPI job of several tasks,
                                                          else a run of one process, which needs no coordinator
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from absl import flags

from lct_jax.errors import InputError

AUTO = "auto"
ENVIRONMENT = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}
TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # set for what srun and mpirun start


@dataclass(frozen=True)
class Place:
    """One process of a run.

    Attributes:
        process: its number, from 0. processes: how many there are. host, port: of the coordinator, beside process 0.
        devices: numbers of the local devices it takes; None takes all.
        join_timeout: seconds that all have to come. lost_timeout: seconds without a sign after which one is lost.
    """

    process: int
    processes: int
    host: str
    port: int
    devices: tuple[int, ...] | None
    join_timeout: float
    lost_timeout: float

    @property
    def name(self) -> str:
        """How its lines begin: `process 0/2`, numbered as --process_id is."""
        return f"process {self.process}/{self.processes}"


def define_place() -> None:
    """Defines the flags that `read_place` reads."""
    flags.DEFINE_string("coordinator", None, "HOST:PORT at process 0, or 'auto' (docs/hosts.md).")
    flags.DEFINE_integer("processes", None, "Processes of the run.")
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
    flags.DEFINE_float("join_timeout", 300.0, "Seconds that all processes have to come.")
    flags.DEFINE_float(
        "lost_timeout", 60.0, "Seconds without a sign after which a process is lost."
    )


def read_place(environment: Mapping[str, str] | None = None) -> Place | None:
    """This process's place by flags and environment; None in a run of one process.

    Raises:
        InputError: a part is missing or out of its range, or nothing was detected where it was asked for.
    """
    environment = os.environ if environment is None else environment
    values = {name: flags.FLAGS[name].value for name in ENVIRONMENT}
    named = {name: f"--{name}" for name in ENVIRONMENT}
    for name, variable in ENVIRONMENT.items():
        if values[name] is None and environment.get(variable):
            values[name], named[name] = environment[variable], variable
    timeouts = {name: flags.FLAGS[name].value for name in ("join_timeout", "lost_timeout")}
    for name, value in timeouts.items():
        if value < 1:
            raise InputError(f"--{name}: found {value:g}, expected at least 1 second")
    given = [name for name, value in values.items() if value is not None]
    alone = all(environment.get(variable, "1") == "1" for variable in TASKS)
    if values["coordinator"] == AUTO or (not given and not alone):
        return _detect(timeouts)
    if not given:
        return None
    missing = [f"--{name} (or {ENVIRONMENT[name]})" for name in ENVIRONMENT if name not in given]
    if missing:
        raise InputError(f"{', '.join(missing)}: missing beside {named[given[0]]}")
    numbers = {name: _count(named[name], values[name]) for name in ("processes", "process_id")}
    return _place(values["coordinator"], **numbers, named=named, devices=None, timeouts=timeouts)


def _detect(timeouts: Mapping[str, float]) -> Place | None:
    from jax._src.clusters import (
        ClusterEnv,
    )  # what jax.distributed.initialize asks; it has no public name

    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(timeouts["join_timeout"])
        )
    except Exception as error:  # of no narrower kind: of a metadata server, or an unset variable
        raise InputError(f"--coordinator=auto: {type(error).__name__}: {error}") from error
    address, processes, process, devices = found
    if None in (address, processes, process):
        raise InputError(
            "--coordinator=auto: found no TPU pod, Slurm step, Open MPI job or Kubernetes job, expected one, or "
            "--coordinator=HOST:PORT --processes=N --process_id=I"
        )
    if processes == 1:
        return None
    named = dict.fromkeys(ENVIRONMENT, "--coordinator=auto")
    return _place(
        address, processes, process, named=named, timeouts=timeouts,
        devices=None if devices is None else tuple(devices),
    )  # fmt: skip


def _place(
    coordinator: str,
    processes: int,
    process_id: int,
    *,
    named: Mapping[str, str],
    devices: tuple[int, ...] | None,
    timeouts: Mapping[str, float],
) -> Place:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(f"{named['coordinator']}: found {coordinator!r}, expected HOST:PORT")
    if processes < 1:
        raise InputError(f"{named['processes']}: found {processes}, expected at least 1")
    if not 0 <= process_id < processes:
        raise InputError(
            f"{named['process_id']}: found {process_id}, expected 0 to {processes - 1}, "
            f"of {processes} processes"
        )
    return Place(process_id, processes, host.strip("[]"), int(port), devices, **timeouts)


def _count(name: str, value: int | str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InputError(f"{name}: found {value!r}, expected a whole number") from None
