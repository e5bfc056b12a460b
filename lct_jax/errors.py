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
from typing import NoReturn, TypeVar

Result = TypeVar("Result")


class InputError(ValueError):
    """Bad input: the message names the file, field or flag, what was found and what was expected."""


def make_folder(folder: Path) -> None:
    """Makes a folder a user named, with those above it; raises InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None


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
        except InputError as error:
            _end(f"error: {error}", code=2)
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            _end(f"error: {where}{error.strerror or error}", code=2)
        except KeyboardInterrupt:
            _end("stopped", code=130)

    return wrapped


def _end(line: str, *, code: int) -> NoReturn:
    print(" ".join(line.split()), file=sys.stderr)  # libraries quoted in it may break lines
    sys.exit(code)
