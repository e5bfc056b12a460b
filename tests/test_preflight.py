"""Preflight as a program: which checks succeed, and in which words others fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from process_pair import find_port, name_process, run_alone, start_pair
from tiny_film import shared_film


def preflight(workdir: Path, *more: str) -> list[str]:
    film = shared_film()
    paths = {"config": film.config, "data": film.prepared, "workdir": workdir}
    return ["-m", "lct_jax.preflight", *(f"--{n}={p}" for n, p in paths.items()), *more]


def verdicts(stdout: str) -> dict[str, str]:
    """Returns the verdicts by check."""
    lines = [line.split(maxsplit=1) for line in stdout.splitlines() if line[:4] in ("ok  ", "FAIL")]
    return {rest.split(":")[0]: verdict for verdict, rest in lines}


CHECKS = (
    *("processes", "code", "versions", "config and flags", "prepared set"),
    *("work folder, writing", "work folder, locks", "work folder, reading", "space"),
    *("devices", "a sum over all devices"),
)


@pytest.mark.programs
def test_preflight_of_one_process_finds_all_that_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    flags = ["--config.compute.seq_shards=2", "--config.backbone.channels=4"]
    result = run_alone(*preflight(folder, *flags))
    assert result.code == 1, result.stderr
    wrong = dict.fromkeys(("prepared set", "work folder, writing", "devices"), "FAIL")
    right = dict.fromkeys(("processes", "code", "versions", "config and flags"), "ok")
    assert verdicts(result.stdout) == right | wrong
    lines = result.stdout.splitlines()
    assert lines[0] == "preflight of 1 processes, at most 120 s"
    assert lines[-1] == "not ready: 3 failed"
    assert (
        "FAIL devices: process 0: compute.seq_shards: found 2 over 1 devices, expected a divisor"
        in lines
    )
    assert (
        f"FAIL work folder, writing: process 0: {folder}: cannot be made a folder (Not a directory)"
        in lines
    )


@pytest.mark.programs
@pytest.mark.slow
def test_preflight_finds_two_processes_ready(tmp_path):
    first, second = start_pair(*preflight(tmp_path / "new")).wait()
    assert (first.code, second.code) == (0, 0), first.stdout + first.stderr + second.stderr
    assert verdicts(first.stdout) == dict.fromkeys(CHECKS, "ok")
    assert first.stdout.splitlines()[-1] == "ready"
    assert "devices: 2 x cpu, data 2, seq 1" in first.stdout
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.programs
@pytest.mark.slow
def test_preflight_names_what_differs_and_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    extra = ((), ("--config.data.seed=5",))
    first, second = start_pair(*preflight(folder), extra=extra).wait()
    assert (first.code, second.code) == (1, 1), first.stderr + second.stderr
    failed = [line for line in first.stdout.splitlines() if line.startswith("FAIL")]
    refused = f"{folder}: cannot be made a folder (Not a directory)"
    assert failed == [
        "FAIL config and flags: --config.data.seed: found 5 on process 1, expected 0 as on process 0",
        f"FAIL work folder, writing: process 0: {refused}; process 1: {refused}",
    ]
    assert first.stdout.splitlines()[-1] == "not ready: 2 failed"


@pytest.mark.programs
@pytest.mark.slow
def test_preflight_names_a_missing_process_within_the_timeout(tmp_path):
    spec = name_process(find_port(), 0)
    result = run_alone(*preflight(tmp_path, *spec, "--timeout=2"))
    assert result.code == 1
    assert result.stdout.splitlines()[-1] == (
        "FAIL processes: process 1 of 2 did not come within 2 s"
    )
