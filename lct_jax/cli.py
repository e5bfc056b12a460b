"""Command lines: with `define_config` and `run`, every mistake on a command line is reported in one line.

A program defines its flags at the top (absl), the config's with `define_config`, a path with `define_path`, and ends in
`run(main)`:

    CONFIG = define_config()    # --config=FILE, and --config.SECTION.FIELD=VALUE for any field of it
    ...
    if __name__ == "__main__":
        run(main)
"""

from __future__ import annotations

import functools
import io
import json
import re
import runpy
import sys
import traceback
import typing
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from lct_jax.config import SamplingConfig, editable, freeze
from lct_jax.config.former import translate, translate_flag
from lct_jax.directing.field_reader import suggest
from lct_jax.errors import InputError, exit_on_input_error
from lct_jax.paths import local_path
from lct_jax.startup import skip_missing_tpu

# What absl makes of the message of Python's int and float.
_NUMBER = re.compile(
    r"flag --(\w+)=(.*): (?:invalid literal for|could not convert string to) (int|float)\b.*"
)
_EDIT = re.compile(r"--?(?:no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)


def run(main: Callable[[Sequence[str]], None], *, operand: str = "") -> None:
    r"""Runs `main(argv)` as `absl.app.run` does, and exits.

    `operand` says what the one word is that the program takes beside its flags, such as "an idea"; most take none.

    An `InputError` of `main` or of the command line itself is printed as one line on stderr, and the exit code is 2.
    Characters that the terminal's encoding lacks are printed as `\u` and a number. Libraries log only warnings, unless
    `--verbosity` is given, and JAX does not look for a TPU where there is none.
    """

    def start(argv: Sequence[str]) -> None:
        # JAX would report every backend that it does not find, and Orbax every save in a dozen lines.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        skip_missing_tpu()
        main(argv)

    sys.argv = take_former_names(sys.argv)
    _print_anything()
    parse = functools.partial(parse_flags, operand=operand)
    app.run(exit_on_input_error(start), flags_parser=exit_on_input_error(parse))


def take_former_names(argv: Sequence[str]) -> list[str]:
    """Returns a command line with the present names of config fields; a line on stderr says which were replaced."""
    arguments = []
    for argument in argv:
        argument, note = translate_flag(argument)
        arguments.append(argument)
        if note:
            print(note, file=sys.stderr)
    return arguments


def run_moved(module: str) -> None:
    """Runs a command in the module that has it now; a line on stderr names the module."""
    print(f"{sys.modules['__main__'].__spec__.name} is now {module}", file=sys.stderr)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def define_config() -> flags.FlagHolder:
    """Defines the required flag `--config=FILE`; its value is the `ConfigDict` that `load_config` returns.

    Each `--config.SECTION.FIELD=VALUE` after it changes one field (ml_collections' config_flags).
    """
    holder = config_flags.DEFINE_config_file("config", None, "Experiment config, under configs/.")
    # The flag's own parser would raise a traceback for a bad file.
    flags.FLAGS["config"].parser = _ConfigFile()
    flags.mark_flag_as_required("config")
    return holder


def define_path(name: str, help: str, *, required: bool = False) -> flags.FlagHolder:
    """Defines a flag that holds a file or a folder, as text or None; `local_path` says which paths are taken."""
    return flags.DEFINE(
        _LocalPath(name), name, None, help, required=required, serializer=flags.ArgumentSerializer()
    )


def define_loras() -> flags.FlagHolder:
    """Defines the flag `--add_lora=PATH[:WEIGHT]`, which may be given several times; its value is a list of texts."""
    return flags.DEFINE_multi(
        _LocalPath("add_lora"),
        flags.ArgumentSerializer(),
        "add_lora",
        [],
        "LoRA to add, a file or a run, as PATH or PATH:WEIGHT; may be given several times.",
    )


def define_sampling() -> Callable[[], dict[str, Any]]:
    """Defines a flag for every field of the sampling config.

    Returns:
        A function that returns the fields whose flags were given, once flags are parsed.
    """
    define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
    holders = {
        name: define[hint](name, None, f"sampling.{name} of the run")
        if hint in define
        else flags.DEFINE_enum(name, None, typing.get_args(hint), f"sampling.{name} of the run")
        for name, hint in typing.get_type_hints(SamplingConfig).items()
    }
    return lambda: {n: flag.value for n, flag in holders.items() if flag.value is not None}


def parse_flags(argv: Sequence[str], *, operand: str = "") -> list[str]:
    """Parses a command line into `flags.FLAGS`, and returns the words that are no flags.

    Raises:
        InputError: a flag is wrong, or there are more or fewer words than the one that `operand` describes.
    """
    # Flags after a stray word still count as flags.
    flags.FLAGS.set_gnu_getopt()
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        # absl wraps the errors of a flag's parser.
        if isinstance(error.__context__, InputError):
            raise error.__context__ from None
        raise InputError(_explain(error)) from None
    for name in flags.FLAGS:
        if flags.FLAGS[name].default is None and flags.FLAGS[name].value == "":
            raise InputError(f"--{name}: found nothing behind it, expected a value")
    if operand and not rest[1:]:
        raise InputError(f"found --flag=value alone on the command line, expected {operand} too")
    if rest[1 + bool(operand) :]:
        expected = f"{operand} in quotes" if operand else "--flag=value alone"
        raise InputError(f"{rest[-1]}: found on the command line, expected {expected}")
    return rest


def load_config(path: str) -> ConfigDict:
    """Returns what a config file's `get_config()` returns, or the settings in a file of JSON, where it ends in .json.

    Raises:
        InputError: there is no such file, or it fails; the message has the line.
    """
    if not Path(path).is_file():
        raise InputError(f"--config: {path}: no such file, expected one that defines get_config()")
    if path.endswith(".json"):
        return _load_json(path)
    loader = SourceFileLoader("config", path)
    module = module_from_spec(spec_from_loader(loader.name, loader))
    try:
        loader.exec_module(module)
        values = module.get_config()
    except Exception as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        raise InputError(f"{path}{_find_line(error, path)}: {kind}{error}") from error
    if not isinstance(values, ConfigDict):
        found = type(values).__name__
        raise InputError(f"{path}: get_config() gave {found}, expected editable(Config(...))")
    return ConfigDict(translate(values.to_dict())) if "model" in values else values


def _load_json(path: str) -> ConfigDict:
    try:
        return editable(freeze(json.loads(Path(path).read_text(encoding="utf-8"))))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None


class _LocalPath(flags.ArgumentParser):
    def __init__(self, name: str) -> None:
        self._name = name

    def parse(self, argument: str) -> str:
        return local_path(argument, f"--{self._name}")

    def flag_type(self) -> str:
        return "path"


class _ConfigFile(flags.ArgumentParser):
    def parse(self, argument: str) -> ConfigDict:
        values = load_config(local_path(argument, "--config"))
        for edit in filter(None, map(_EDIT.fullmatch, sys.argv)):
            _check_edit(edit[1], edit[2], values)
        return values

    def flag_type(self) -> str:
        return "config file"


def _print_anything() -> None:
    """Keeps a character that stdout cannot encode, as under PYTHONIOENCODING=ascii, from ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_edit(path: str, text: str | None, values: Any) -> None:
    """Raises InputError unless the field is there and, where it is a number, the text is one."""
    for name in path.split("."):
        known = list(values) if isinstance(values, ConfigDict) else []
        if name not in known:
            hint = suggest(name, known) if known else "expected a field of a section"
            raise InputError(f"--config.{path}: no such field, {hint}")
        values = values[name]
    kind = type(values)
    if text is not None and kind in (int, float):
        try:
            kind(text)
        except ValueError:
            raise InputError(f"--config.{path}: found {text!r}, expected {kind.__name__}") from None


def _explain(error: flags.Error) -> str:
    name = getattr(error, "flagname", "")
    if name.startswith("config.") and "config" in flags.FLAGS:
        return f"--config: missing, expected a config file before --{name}"
    number = _NUMBER.fullmatch(str(error))
    if number:
        kind = "a whole number" if number[3] == "int" else "a number"
        return f"--{number[1]}: found {number[2]!r}, expected {kind}"
    missing = re.match(r"flag --(\S+)=None: .* other than None", str(error))
    return f"--{missing[1]}: missing" if missing else str(error).removeprefix("flag ")


def _find_line(error: Exception, path: str) -> str:
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path
    ]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    return "" if line is None else f", line {line}"
