"""The one exception a user is meant to read, and the wrapper that prints it as one line.

Everything a user can get wrong (a flag, a file, a field, a checkpoint) raises `InputError` with a message of
one line: where, what was found, what was expected. What the system refuses (a full disk, a folder that may not be
written) is printed in one line too, and so is Ctrl-C. Anything else is our bug and keeps its traceback.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

_before_last_line: list[Callable[[], None]] = []


class InputError(ValueError):
    """Bad input: the message names the file, field or flag, what was found and what was expected."""


def make_folder(folder: Path) -> None:
    """Makes a folder a user named, with those above it; raises InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None


def call_before_last_line(act: Callable[[], None]) -> None:
    """Has something done before a process ends with its one line: a progress bar must leave the line it is on."""
    _before_last_line.append(act)


def one_line(error: Exception) -> str:
    """What an error of a library or of the system says, without line breaks; its type where it says nothing."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def exit_on_input_error(
    main: Callable[[Sequence[str]], Result],
) -> Callable[[Sequence[str]], Result]:
    """Wraps a function of `argv` so that the process ends with one line: exit code 2, or 130 after Ctrl-C."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str]) -> Result:
        try:
            return main(argv)
        except (Exception, KeyboardInterrupt) as error:
            described = describe(error)
            if described is None:
                raise
            line, code = described
            for act in _before_last_line:
                act()
            print(line, file=sys.stderr)
            sys.exit(code)

    return wrapped


def describe(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code for an error a user is meant to read; None for any other."""
    if isinstance(error, InputError):
        line, code = f"error: {error}", 2
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        line, code = f"error: {where}{error.strerror or error}", 2
    elif isinstance(error, KeyboardInterrupt):
        line, code = "stopped", 130
    else:
        return None
    return " ".join(line.split()), code  # libraries quoted in it may break lines
