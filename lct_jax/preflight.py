"""Checks, before a long run on many hosts, that it can start: within a stated time and in plain words.

    python -m lct_jax.preflight --config=FILE --workdir=DIR [--data=DIR] [--timeout=120] [the flags of train.py]

Started as train.py is, on every process. Process 0 prints a line for every check, and a process that does not find the
others says so itself; the exit code is 0 where all is well and 1 where anything is not. Nothing is left behind but the
work folder.
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
from lct_jax.training.state import init_state

CONFIG = define_config()
DATA = define_data("Prepared set or sets, the same on all processes.")
WORKDIR = define_path("workdir", "Folder of the run, shared.", required=True)
TIMEOUT = flags.DEFINE_float("timeout", 120.0, "Seconds within which all checks are done.")
define_process_flags()

MARGIN = 5.0  # seconds for an answer to arrive behind the check that it is of
Judge = Callable[[list[Any]], str]


class Checks:
    """Runs checks on all processes at once, and prints what came of each; only process 0 is heard.

    Args:
        peers: the processes. end: when everything is to be done, as time.monotonic() counts.
    """

    def __init__(self, peers: Peers | Alone, *, end: float) -> None:
        self.failed = 0
        self._peers, self._end = peers, end

    def run(self, name: str, look: Callable[[], Any], judge: Judge) -> list[Any] | None:
        """One check: every process looks, and all that they found is judged alike on each of them.

        Args:
            look: gives a JSON value, or raises what `errors.describe` knows. judge: turns the values, by process, into
                words, or raises InputError.

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
    """What `look` gives and "", or None and what went wrong, such as that it took longer."""
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


# ---- what is looked at ----------------------------------------------------------------------------


def same(values: list[Any]) -> str:
    """Judges that all processes found the same; the words are what they found."""
    for process, value in enumerate(values):
        if value != values[0]:
            raise InputError(
                f"found {value} on process {process}, expected {values[0]} as on process 0"
            )
    return str(values[0])


def alike(values: list[Any], *, words: str) -> str:
    """Judges that facts by name are the same."""
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
    """A sum to which every device gives one: the network between hosts is used as training uses it."""
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
    """A hash of the cards and lengths of what `--data` names, after it was opened and held against the config."""
    if folder is None:
        return "not looked at, without --data"
    prepared = open_data(folder)
    prepared.check_fits(config.backbone, config.layout)
    make_mix(prepared.parts, prepared.lengths, config.data, split="train")
    return prepared.identity


def write_note(folder: Path, name: str, text: str) -> str:
    """Writes a small file into the work folder, which is made if it has to be."""
    make_folder(folder)
    (folder / name).write_text(text)
    return text


def read_notes(folder: Path, notes: dict[str, str]) -> int:
    """Reads small files and compares them with what was written; raises InputError where one is not there."""
    for name, text in notes.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            raise InputError(f"{path}: not what another process wrote, expected a shared folder")
    return len(notes)


def try_lock(folder: Path, name: str) -> str:
    """Locks a file in the work folder, as a run does; returns what the system says where it cannot be, or ""."""
    with (folder / name).open() as file:
        return lock(file, wait=False) or ""


def judge_locks(values: list[Any], folder: Path) -> str:
    """Returns whether the work folder can be guarded. A run does without locks, so that nothing is wrong without."""
    reason = next(filter(None, values), "")
    return describe_unguarded(folder, reason) if reason else "one run at a time"


def check_folder(checks: Checks, folder: Path, peers: Peers | Alone) -> bool:
    """Every process writes a file into the work folder and reads those of all others; False where any cannot write."""
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
    """Free bytes where checkpoints go, and bytes of the checkpoints that a run keeps and of the one being written."""
    shapes = build_abstract(config.network).params
    optimizer = make_optimizer(config.training, decays=find_family(config.network).decays)
    state = jax.eval_shape(lambda params: init_state(params, optimizer), shapes)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    there = sum(path.name.isdigit() for path in (folder / "checkpoints").glob("*"))
    wanted = max(config.training.keep + 1 - there, 1)
    return [float(shutil.disk_usage(folder).free), float(size), float(wanted)]


def judge_space(values: list[Any]) -> str:
    """Judges that checkpoints find room, on the process that has least."""
    free, size, wanted = min(values)
    room = f"{free / 1e9:.4g} GB free, a checkpoint takes {size / 1e9:.4g} GB"
    if free < wanted * size:
        raise InputError(f"{room}, expected room for {wanted:.0f}")
    return f"{room}, room for {wanted:.0f} is needed"


# ---- all of them ----------------------------------------------------------------------------------


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
    """Runs all checks in their order, and exits; one that fails does not keep back those that do not need it."""
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
    """Prints that a process did not come or was lost, as the check that it is; returns the exit code."""
    print(f"{'' if spec.process == 0 else f'{spec.name}: '}FAIL processes: {text}", flush=True)
    return 1


if __name__ == "__main__":
    run(main)
