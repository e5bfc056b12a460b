"""Documents agree with the programs: commands are parsed by their own flags, paths exist, outputs are those printed."""

from __future__ import annotations

import collections
import itertools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import (
    DOCUMENTS,
    ROOT,
    SOURCES,
    find_commands,
    find_links,
    find_outputs,
    find_paths,
)
from tiny_film import run_program

# What a test writes.
WRITTEN = {"tiny.py", "results/gpu_check.json"}
NAMES = {path.name for path in ROOT.rglob("*.*") if ".venv" not in path.parts}


def parse(commands: list[tuple[str, list[str], bool]]) -> list[str]:
    """What is wrong with each command, by the flags of its program; all in one process that runs none of them."""
    programs = collections.defaultdict(list)
    for number, (program, arguments, partial) in enumerate(commands):
        programs[program].append((number, arguments, partial))
    lines = [(program, [line[1:] for line in asked]) for program, asked in programs.items()]
    process = subprocess.run(
        [sys.executable, "tests/parse_commands.py"],
        input=json.dumps(lines),
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": "."},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout.splitlines()[-1])
    numbers = [line[0] for asked in programs.values() for line in asked]
    return [text for _, text in sorted(zip(numbers, itertools.chain(*answers), strict=True))]


@pytest.mark.slow
def test_every_command_is_one_that_its_program_takes():
    commands = find_commands()
    assert len(commands) > 60
    assert {command.program for command in commands} > {"train.py", "sample.py", "lct_jax.plan"}
    found = parse([command[1:] for command in commands])
    wrong = [(c.where, c.program, text) for c, text in zip(commands, found, strict=True) if text]
    assert wrong == []


@pytest.mark.slow
def test_a_command_that_a_program_does_not_take_is_found():
    train = ["--config=configs/film_tiny.py", "--data=DIR", "--workdir=DIR"]
    assert parse(
        [
            ("train.py", train, False),
            ("train.py", [*train, "--profile=START:STOP", "--config.training.steps=N"], False),
            ("train.py", train[:2], False),
            ("train.py", train[:2], True),
            ("train.py", [*train, "--config.training.stepz=3"], False),
            ("train.py", [*train, "--config.training.steps=0"], False),
            ("sample.py", ["--checkpoint=DIR", "--script=FILE", "--out=DIR", "--mode=joint|no"], False),
            ("lct_jax.data.prepare", ["--config=configs/gone.py", "--out=DIR"], False),
            ("lct_jax.plan", ["--config=C", "--topology=v5p:8", "--stepz=N"], False),
        ]
    ) == [
        "",
        "",
        "--workdir: missing",
        "",
        "--config.training.stepz: no such field, did you mean 'steps'?",
        "training.steps: found 0, expected more than 0",
        "--mode=no: value should be one of "
        "<autoregressive|causal|image_to_video|in_context|joint|references|shared_attention>",
        "--config: configs/gone.py: no such file",
        "--stepz: no such flag",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_path_that_is_named_exists(path: Path):
    gone = {
        name
        for name in find_paths(path)
        if name not in NAMES | WRITTEN
        and not any(_exists(name, top) for top in (ROOT, path.parent))
    }
    assert gone == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path):
    assert [str(target) for target in find_links(path) if not target.exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_output_that_a_document_shows_is_what_the_command_prints(path: Path):
    """UPDATE_GOLDEN=1 writes it into the document anew."""
    for command, shown in find_outputs(path):
        words = shlex.split(command.replace("\\\n", " "))
        assert words[0] == ".venv/bin/python"
        result = run_program(*words[1:])
        assert result.code == 0, result.stderr
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(path.read_text().replace(shown, result.stdout))
        else:
            assert shown == result.stdout


def _exists(name: str, top: Path) -> bool:
    return any(top.glob(name)) if "*" in name else (top / name).exists()
