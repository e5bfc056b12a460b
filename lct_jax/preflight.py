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
import os
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
from lct_jax.cli import define_config, run
from lct_jax.config import Config, freeze
from lct_jax.data.sets.records import PreparedSet
from lct_jax.distributed.sharding import check_mesh, make_mesh, replicated
from lct_jax.errors import InputError, describe, make_folder
from lct_jax.hosts.facts import find_differences, hash_code, read_flags, read_versions
from lct_jax.hosts.place import Place, define_place, read_place
from lct_jax.hosts.team import Alone, Team, join
from lct_jax.hosts.together import start_jax
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state

CONFIG = define_config()
DATA = flags.DEFINE_string("data", None, "Prepared set, the same on all processes.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, shared.", required=True)
TIMEOUT = flags.DEFINE_float("timeout", 120.0, "Seconds within which all checks are done.")
define_place()

MARGIN = 5.0  # seconds for an answer to arrive behind the check that it is of
Judge = Callable[[list[Any]], str]


class Checks:
    """Runs checks on all processes at once, and prints what came of each on process 0.

    Args:
        team: of all processes. first: whether this one is process 0. seconds: until everything is to be done.
    """

    def __init__(self, team: Team | Alone, *, first: bool, seconds: float) -> None:
        self.failed = 0
        self._team, self._first, self._end = team, first, time.monotonic() + seconds

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
            answers = self._team.gather(name, [value, wrong], timeout=left + MARGIN)
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
        if self._first:
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


def describe_devices(place: Place | None, team: Team | Alone, config: Config) -> str:
    """The devices of all processes and the mesh over them, as this process sees them."""
    if place is not None:
        start_jax(place, service=team.service)
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
    """A hash of a prepared set's card and lengths, after the set has been opened and held against the model."""
    if folder is None:
        return "not looked at, without --data"
    PreparedSet(folder).check_fits(config.backbone, config.layout)
    files = [Path(folder) / name for name in ("card.json", "lengths.safetensors")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


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


def check_folder(checks: Checks, folder: Path, *, process: int, processes: int) -> bool:
    """Every process writes a file into the work folder and reads those of all others; False where any cannot write."""
    name = functools.partial("preflight.{}".format)
    mine = name(process)
    try:
        written = checks.run(
            "work folder, writing",
            lambda: write_note(folder, mine, uuid.uuid4().hex),
            lambda values: f"{folder}, by {len(values)} of {processes}",
        )
        if written is None:
            return False
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
    config, folder, end = (
        freeze(CONFIG.value),
        Path(WORKDIR.value),
        time.monotonic() + TIMEOUT.value,
    )
    if TIMEOUT.value < 1:
        raise InputError(f"--timeout: found {TIMEOUT.value:g}, expected at least 1 second")
    place = read_place()
    place = None if place is None or place.processes == 1 else place
    process, processes = (0, 1) if place is None else (place.process, place.processes)
    if process == 0:
        print(f"preflight of {processes} processes, at most {TIMEOUT.value:g} s", flush=True)
    team: Team | Alone = Alone()
    if place is not None:
        try:
            patient = dataclasses.replace(place, join_timeout=TIMEOUT.value)
            team = join(patient, on_loss=lambda lost: None)
        except InputError as error:
            print(f"FAIL processes: {error}" if process == 0 else f"{place.name}: FAIL {error}")
            sys.exit(1)
    checks = Checks(team, first=process == 0, seconds=end - time.monotonic())
    run_checks(checks, place, team, config=config, folder=folder)
    if process == 0:
        print("ready" if not checks.failed else f"not ready: {checks.failed} failed", flush=True)
    if place is not None:
        _part(team, failed=checks.failed > 0)
    sys.exit(1 if checks.failed else 0)


def run_checks(
    checks: Checks, place: Place | None, team: Team | Alone, *, config: Config, folder: Path
) -> None:
    """All checks in their order; one that fails does not keep back those that do not need it."""
    process, processes = (0, 1) if place is None else (place.process, place.processes)
    checks.run("processes", socket.gethostname, lambda hosts: f"{len(hosts)}, {', '.join(hosts)}")
    checks.run("code", hash_code, same)
    checks.run("versions", read_versions, functools.partial(alike, words="the same"))
    checks.run("config and flags", read_flags, functools.partial(alike, words="the same"))
    checks.run("prepared set", lambda: hash_set(DATA.value, config), same)
    if check_folder(checks, folder, process=process, processes=processes):
        checks.run("space", lambda: measure_space(folder, config), judge_space)
    seen = checks.run("devices", lambda: describe_devices(place, team, config), same)
    if seen is not None:
        checks.run("a sum over all devices", lambda: sum_over_devices(config), same)


def _part(team: Team, *, failed: bool) -> None:
    if not failed:
        jax.distributed.shutdown()
    team.leave()
    if failed:  # JAX may be half started, and would wait for what does not come
        sys.stdout.flush()
        os._exit(1)


if __name__ == "__main__":
    run(main)
