"""Checks, before a long run on many hosts, that it can start; it reports in sentences and within a stated time.

    python -m lct_jax.preflight --config=FILE --workdir=DIR [--data=DIR] [--timeout=120] [the flags of train.py]

It is started as train.py is, on every process. Process 0 prints a line for every check, and a process that does not
reach the others reports that itself; the exit code is 0 where every check succeeds and 1 otherwise. Only the work
folder remains afterwards.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lct_jax.backbones.registry import build_abstract, find_family
from lct_jax.cli import define_config, define_path, run
from lct_jax.config import Config, freeze
from lct_jax.data.hold_out import hold_out
from lct_jax.data.joined import open_data
from lct_jax.data.mix import define_data, make_mix
from lct_jax.distributed.facts import find_differences, hash_code, read_flags, read_versions
from lct_jax.distributed.peers import Alone, Peers
from lct_jax.distributed.process_spec import ProcessSpec, define_process_flags, read_spec
from lct_jax.distributed.run_distributed import run_with_peers
from lct_jax.distributed.sharding import check_mesh, make_mesh, replicated
from lct_jax.errors import InputError, describe, make_folder
from lct_jax.files import describe_unguarded, lock
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state, split_params

CONFIG = define_config()
DATA = define_data("Prepared set or sets, the same on all processes.")
WORKDIR = define_path("workdir", "Folder of the run, shared.", required=True)
TIMEOUT = flags.DEFINE_float("timeout", 120.0, "Seconds within which all checks are done.")
define_process_flags()

# Seconds in which an answer may arrive after the end of its check.
MARGIN = 5.0
Judge = Callable[[list[Any]], str]


class Checks:
    """Runs checks on all processes at the same time; process 0 prints the results.

    Args:
        peers: the processes.
        end: the deadline of all checks, as time.monotonic() counts.
    """

    def __init__(self, peers: Peers | Alone, *, end: float) -> None:
        self.failed = 0
        self._peers, self._end = peers, end

    def run(self, name: str, look: Callable[[], Any], judge: Judge) -> list[Any] | None:
        """Runs one check: every process looks, and each of them judges what all have found.

        Args:
            name: the name of the check.
            look: returns a JSON value, or raises an error that `errors.describe` knows.
            judge: returns a text about the values, by process, or raises InputError.

        Returns:
            The values by process, or None where the check has failed.
        """
        left = max(self._end - time.monotonic(), 0.0)
        value, wrong = attempt(look, seconds=left)
        try:
            answers = self._peers.gather(name, [value, wrong], timeout=left + MARGIN)
            complaints = [f"process {p}: {bad}" for p, (_, bad) in enumerate(answers) if bad]
            if complaints:
                raise InputError("; ".join(complaints))
            said = judge([value for value, _ in answers])
        except InputError as error:
            self._say("FAIL", name, str(error).removeprefix(f"{name}: "))
            self.failed += 1
            return None
        self._say("ok", name, said)
        return [value for value, _ in answers]

    def _say(self, verdict: str, name: str, text: str) -> None:
        print(f"{verdict:4} {name}: {text}", flush=True)


def attempt(look: Callable[[], Any], *, seconds: float) -> tuple[Any, str]:
    """Returns what `look` returns and "", or None and what went wrong, such as that it took too long."""
    result: list[tuple[Any, str]] = []

    def work() -> None:
        try:
            result.append((look(), ""))
        except Exception as error:
            line, _ = describe(error) or (f"{type(error).__name__}: {error}", 1)
            result.append((None, " ".join(line.removeprefix("error: ").split())))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else (None, f"not done within {seconds:.0f} s")


# ---- the checks -----------------------------------------------------------------------------------


def same(values: list[Any]) -> str:
    """Judges that all processes found the same value, and returns it as a text."""
    for process, value in enumerate(values):
        if value != values[0]:
            raise InputError(
                f"found {value} on process {process}, expected {values[0]} as on process 0"
            )
    return str(values[0])


def alike(values: list[Any], *, words: str) -> str:
    """Judges that all processes have the same facts by name, and returns `words`."""
    for complaint in find_differences(values):
        raise InputError(complaint)
    return words


def describe_devices(config: Config) -> str:
    """Returns the devices of all processes and the mesh over them, as this process sees them."""
    mesh = make_mesh(seq=config.compute.seq_shards)
    check_mesh(mesh, config)
    order = hashlib.sha256(str([d.id for d in mesh.devices.flat]).encode()).hexdigest()[:8]
    return (
        f"{mesh.size} x {mesh.devices.flat[0].device_kind}, data {mesh.shape['data']}, seq {mesh.shape['seq']}, "
        f"in order {order}"
    )


def sum_over_devices(config: Config) -> str:
    """Returns the sum of a one from every device, which uses the network between hosts as training does."""
    mesh = make_mesh(seq=config.compute.seq_shards)
    spread = NamedSharding(mesh, P(mesh.axis_names))
    ones = jax.make_array_from_callback(
        (mesh.size,), spread, lambda index: np.ones(len(range(mesh.size)[index[0]]), np.int32)
    )
    total = int(jax.jit(jnp.sum, out_shardings=replicated(mesh))(ones))
    if total != mesh.size:
        raise InputError(f"found {total}, expected {mesh.size}")
    return f"{total} of {mesh.size}"


def hash_set(folder: str | None, config: Config) -> str:
    """Returns a hash of the cards and lengths of what `--data` names, after checking that they fit the config."""
    if folder is None:
        return "not looked at, without --data"
    prepared = open_data(folder)
    prepared.check_fits(config.backbone, config.layout)
    lengths = hold_out(prepared, config.data.hold_out)
    make_mix(prepared.parts, lengths, config.data, split="train")
    return prepared.identity


def write_note(folder: Path, name: str, text: str) -> str:
    """Writes a small file into the work folder, which is made where it does not exist."""
    make_folder(folder)
    (folder / name).write_text(text)
    return text


def read_notes(folder: Path, notes: dict[str, str]) -> int:
    """Compares small files with what was written into them; raises InputError where one is missing or differs."""
    for name, text in notes.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            raise InputError(f"{path}: not what another process wrote, expected a shared folder")
    return len(notes)


def try_lock(folder: Path, name: str) -> str:
    """Locks a file in the work folder, as a run does; returns the system's message where it has no locks, else ""."""
    with (folder / name).open() as file:
        return lock(file, wait=False) or ""


def judge_locks(values: list[Any], folder: Path) -> str:
    """Returns whether the work folder can be guarded. A run works without locks too, so that this never fails."""
    reason = next(filter(None, values), "")
    return describe_unguarded(folder, reason) if reason else "one run at a time"


def check_folder(checks: Checks, folder: Path, peers: Peers | Alone) -> bool:
    """Lets every process write a file into the work folder and read those of all others.

    Returns:
        False where a process cannot write.
    """
    name = functools.partial("preflight.{}".format)
    mine, processes = name(peers.process), peers.processes
    try:
        written = checks.run(
            "work folder, writing",
            lambda: write_note(folder, mine, uuid.uuid4().hex),
            lambda values: f"{folder}, by {len(values)} of {processes}",
        )
        if written is None:
            return False
        checks.run(
            "work folder, locks",
            lambda: try_lock(folder, mine),
            functools.partial(judge_locks, folder=folder),
        )
        checks.run(
            "work folder, reading",
            lambda: read_notes(folder, {name(p): text for p, text in enumerate(written)}),
            lambda values: f"what every process wrote, by {len(values)} of {processes}",
        )
        return True
    finally:
        if folder.is_dir():
            (folder / mine).unlink(missing_ok=True)


def measure_space(folder: Path, config: Config) -> list[float]:
    """Returns free bytes for checkpoints, the bytes of one, and how many are still to come, the unfinished one
    included.
    """
    trained = split_params(build_abstract(config.network).params).trained
    optimizer = make_optimizer(config.training, decays=find_family(config.network).decays)
    state = jax.eval_shape(lambda params: init_state(params, optimizer), trained)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    existing = sum(path.name.isdigit() for path in (folder / "checkpoints").glob("*"))
    wanted = max(config.training.keep + 1 - existing, 1)
    return [float(shutil.disk_usage(folder).free), float(size), float(wanted)]


def judge_space(values: list[Any]) -> str:
    """Judges that there is room for checkpoints, on the process that has least."""
    free, size, wanted = min(values)
    room = f"{free / 1e9:.4g} GB free, a checkpoint takes {size / 1e9:.4g} GB"
    if free < wanted * size:
        raise InputError(f"{room}, expected room for {wanted:.0f}")
    return f"{room}, room for {wanted:.0f} is needed"


# ---- the program ----------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    del argv
    if TIMEOUT.value < 1:
        raise InputError(f"--timeout: found {TIMEOUT.value:g}, expected at least 1 second")
    freeze(CONFIG.value)
    spec = read_spec()
    if spec is not None:
        spec = dataclasses.replace(spec, join_timeout=TIMEOUT.value)
    run_with_peers(check_all, spec, alike=False, report=report_loss)


def check_all(peers: Peers | Alone) -> None:
    """Runs all checks in order and exits; a failed check does not prevent those that do not need it."""
    config, folder = freeze(CONFIG.value), Path(WORKDIR.value)
    checks = Checks(peers, end=time.monotonic() + TIMEOUT.value)
    print(f"preflight of {peers.processes} processes, at most {TIMEOUT.value:g} s", flush=True)
    checks.run("processes", socket.gethostname, lambda hosts: f"{len(hosts)}, {', '.join(hosts)}")
    checks.run("code", hash_code, same)
    checks.run("versions", read_versions, functools.partial(alike, words="the same"))
    checks.run("config and flags", read_flags, functools.partial(alike, words="the same"))
    checks.run("prepared set", lambda: hash_set(DATA.value, config), same)
    if check_folder(checks, folder, peers):
        checks.run("space", lambda: measure_space(folder, config), judge_space)
    seen = checks.run("devices", lambda: describe_devices(config), same)
    if seen is not None:
        checks.run("a sum over all devices", lambda: sum_over_devices(config), same)
    print("ready" if not checks.failed else f"not ready: {checks.failed} failed", flush=True)
    sys.exit(1 if checks.failed else 0)


def report_loss(spec: ProcessSpec, text: str, code: int) -> int:
    """Prints a process that did not come or was lost as a failed check, and returns the exit code."""
    print(f"{'' if spec.process == 0 else f'{spec.name}: '}FAIL processes: {text}", flush=True)
    return 1


if __name__ == "__main__":
    run(main)
