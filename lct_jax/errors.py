"""`InputError` is the one exception that a user is meant to read, and `exit_on_input_error` prints it as one line.

Everything that a user can get wrong (a flag, a file, a field, a checkpoint) raises it with a message of one line:
where, what was found, what was expected. Refusals of the system (a full disk, a folder that may not be written) are
printed in one line too, and so is Ctrl-C. Any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

# The system says this alone where a thread or memory is refused.
_OUT_OF_MEMORY = (errno.EAGAIN, errno.ENOMEM)
_SCARCE = "no memory, or no thread, is left for this process (ulimit -v, ulimit -u)"
_before_last_line: list[Callable[[], None]] = []


class InputError(ValueError):
    """Bad input; the message names the file, field or flag, what was found and what was expected."""


def make_folder(folder: Path) -> None:
    """Makes a folder that a user named, and its parents; raises InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None


def call_before_last_line(act: Callable[[], None]) -> None:
    """Registers a callback that is called before the error line: a progress bar must first end its own line."""
    _before_last_line.append(act)


def one_line(error: Exception) -> str:
    """Returns the message of an error of a library or of the system in one line; its type where it has no message."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(text.split())
    return f"{line}: {_SCARCE}" if getattr(error, "errno", None) in _OUT_OF_MEMORY else line


def exit_on_input_error(
    main: Callable[[Sequence[str]], Result],
) -> Callable[[Sequence[str]], Result]:
    """Wraps a function of `argv` so that the process ends with one line: exit code 2, or 130 after Ctrl-C.

    A second Ctrl-C ends it at once, with the same code.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str]) -> Result:
        try:
            return main(argv)
        except (Exception, KeyboardInterrupt) as error:
            described = describe(error)
            if described is None:
                raise
            line, code = described
            if isinstance(error, KeyboardInterrupt):
                # The next one must not interrupt what is done at the end, which would print a traceback.
                signal.signal(signal.SIGINT, lambda *_: os._exit(code))
            for act in _before_last_line:
                act()
            print(line, file=sys.stderr)
            sys.exit(code)

    return wrapped


def describe(error: BaseException) -> tuple[str, int] | None:
    """Returns the line and the exit code of an error that a user is meant to read; None for any other."""
    if isinstance(error, InputError):
        line, code = f"error: {error}", 2
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        line, code = f"error: {where}{error.strerror or error}", 2
    elif isinstance(error, KeyboardInterrupt):
        line, code = "stopped", 130
    else:
        return None
    # A quoted message of a library may contain line breaks.
    return " ".join(line.split()), code
