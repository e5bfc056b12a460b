"""Which process this one is, and of how many: from flags, from the environment, or from what JAX detects.

--coordinator=HOST:PORT --processes=N --process_id=I      is set by hand; JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES
                                                          and JAX_PROCESS_ID each replace a flag that is not given
--coordinator=auto                                        takes what JAX detects: TPU pods, Slurm, Open MPI, Kubernetes
no flag                                                   is auto in a Slurm step or Open MPI job of several tasks;
                                                          else the run has one process and needs no coordinator
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
# srun and mpirun set these for the processes that they start.
TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


@dataclass(frozen=True)
class ProcessSpec:
    """One process of a run.

    Attributes:
        process: its number, from 0.
        processes: how many there are.
        host, port: the address of process 0, where JAX's coordination service listens. These four are None until JAX
            has detected them.
        join_timeout: seconds within which all processes must have started.
        lost_timeout: seconds without a heartbeat after which a process counts as lost.
    """

    process: int | None
    processes: int | None
    host: str | None
    port: int | None
    join_timeout: float
    lost_timeout: float

    @property
    def name(self) -> str:
        """The beginning of every line about this process, such as `process 0/2`, numbered as --process_id is."""
        return "process" if self.process is None else f"process {self.process}/{self.processes}"

    @property
    def address(self) -> str | None:
        """HOST:PORT of the coordination service; None where JAX detects it."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return None if self.host is None else f"{host}:{self.port}"


def define_process_flags() -> None:
    """Defines the flags that `read_spec` reads."""
    flags.DEFINE_string("coordinator", None, "HOST:PORT at process 0, or 'auto' (docs/hosts.md).")
    flags.DEFINE_integer("processes", None, "Number of processes of the run.")
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
    flags.DEFINE_float("join_timeout", 300.0, "Seconds within which all processes must come.")
    flags.DEFINE_float(
        "lost_timeout", 60.0, "Seconds without a sign of life after which a process is lost."
    )


def read_spec(environment: Mapping[str, str] | None = None) -> ProcessSpec | None:
    """Returns this process's spec by flags and environment, or None in a run of one process.

    Raises:
        InputError: a part is missing or out of its range.
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
    single_task = all(environment.get(variable, "1") == "1" for variable in TASKS)
    if values["coordinator"] == AUTO or (not given and not single_task):
        return ProcessSpec(None, None, None, None, **timeouts)
    if not given:
        return None
    missing = [f"--{name} (or {ENVIRONMENT[name]})" for name in ENVIRONMENT if name not in given]
    if missing:
        raise InputError(f"{', '.join(missing)}: missing beside {named[given[0]]}")
    host, _, port = values["coordinator"].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(
            f"{named['coordinator']}: found {values['coordinator']!r}, expected HOST:PORT"
        )
    processes = _read_number(named["processes"], values["processes"])
    process = _read_number(named["process_id"], values["process_id"])
    if processes < 1:
        raise InputError(f"{named['processes']}: found {processes}, expected at least 1")
    if not 0 <= process < processes:
        raise InputError(
            f"{named['process_id']}: found {process}, expected 0 to {processes - 1}, "
            f"of {processes} processes"
        )
    spec = ProcessSpec(process, processes, host.strip("[]"), int(port), **timeouts)
    return None if processes == 1 else spec


def _read_number(name: str, value: int | str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InputError(f"{name}: found {value!r}, expected a whole number") from None
