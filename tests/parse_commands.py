"""Parses command lines by the flags that the programs define, and runs none of them.

Reads from stdin a JSON list of [program, arguments, partial], and prints a JSON list of what is wrong with each, "" for
nothing. A value in capitals, such as DIR, stands for any; of alternatives `a|b` each is parsed.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

from lct_jax import cli
from lct_jax.config import freeze
from lct_jax.errors import InputError

CONFIGS = {"lct_jax.codecs.train": "configs/codecs/film_vae.py"}
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*[0-9]?(:[A-Z]+)?(/.*|\.\w+)?")
_PATHS = re.compile(r"(configs|examples|docs)/.*\.(py|json|safetensors)")


def parse_all(program: str, lines: list[tuple[list[str], bool]]) -> list[str]:
    """Returns what is wrong with each of a program's command lines."""
    before, wrong = set(flags.FLAGS), []

    def stub(*_: object, operand: str = "", **__: object) -> None:
        wrong.extend(_parse(program, arguments, partial, operand) for arguments, partial in lines)

    _define(program, stub)
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    return wrong or [""] * len(lines)  # of a program that hands its arguments on to another one


def _define(program: str, stub: Callable[..., None]) -> None:
    path = Path(program if program.endswith(".py") else program.replace(".", "/") + ".py")
    path = path if path.exists() else path.with_suffix("") / "__main__.py"
    source = path.read_text()
    if "app.run(" not in source and "from lct_jax.cli import" not in source:
        return
    cli.run = app.run = stub
    runpy.run_path(str(path), run_name="__main__")


def _parse(program: str, arguments: list[str], partial: bool, operand: str) -> str:
    try:
        for line in _spell_out(program, arguments):
            _parse_line(line, partial, operand)
    except InputError as error:
        return str(error)
    return ""


def _spell_out(program: str, arguments: list[str]) -> list[list[str]]:
    """Returns a line for each of the alternatives, without values that stand for any."""
    count = max([argument.count("|") + 1 for argument in arguments], default=1)
    lines = []
    for number in range(count):
        line = []
        for argument in arguments:
            name, equals, value = argument.partition("=")
            choices = value.split("|")
            value = choices[min(number, len(choices) - 1)]
            if name == "--config" and PLACEHOLDER.fullmatch(value):
                value = CONFIGS.get(program, "configs/film_tiny.py")
            line.append(f"{name}{equals}{value}")
        lines.append(line)
    return lines


def _parse_line(line: list[str], partial: bool, operand: str) -> None:
    kept = []
    for argument in line:
        name, equals, value = argument.removeprefix("--").partition("=")
        # Such a program hands the edits of its config on to others, which check them.
        handed_on = "config" in flags.FLAGS and flags.FLAGS["config"].flag_type() == "path"
        if name.startswith("config.") and (handed_on or (equals and PLACEHOLDER.fullmatch(value))):
            continue
        if equals and PLACEHOLDER.fullmatch(value):
            if name not in flags.FLAGS:
                raise InputError(f"--{name}: no such flag")
            if flags.FLAGS[name].flag_type() not in (
                "string",
                "multi string",
                "path",
                "prepared sets",
            ):
                continue
        for path in filter(_PATHS.fullmatch, value.split(",")):
            if not Path(path).exists():
                raise InputError(f"--{name}: {path}: no such file")
        kept.append(argument)
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)  # of the line before
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv = ["program", *["word"] * bool(operand), *kept]
    try:
        cli.parse_flags(sys.argv, operand=operand)
    except InputError as error:
        if not (partial and str(error).endswith(": missing")):
            raise
        return
    if "config" in flags.FLAGS and "backbone" in (flags.FLAGS.config or {}):
        freeze(flags.FLAGS.config)


if __name__ == "__main__":
    print(json.dumps([parse_all(program, lines) for program, lines in json.load(sys.stdin)]))
