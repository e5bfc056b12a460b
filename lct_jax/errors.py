"""The one exception a user is meant to read, and the wrapper that prints it as one line.

Everything a user can get wrong (a flag, a file, a field, a checkpoint) raises `InputError` with a message of
one line: where, what was found, what was expected. Anything else is our bug and keeps its traceback.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


class InputError(ValueError):
    """Bad input: the message names the file, field or flag, what was found and what was expected."""


def exit_on_input_error(
    main: Callable[[Sequence[str]], Result],
) -> Callable[[Sequence[str]], Result]:
    """Wraps a function of `argv` so that an `InputError` ends the process with one line and exit code 2."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str]) -> Result:
        try:
            return main(argv)
        except InputError as error:
            line = " ".join(str(error).split())  # libraries quoted in it may break lines
            print(f"error: {line}", file=sys.stderr)
            sys.exit(2)

    return wrapped
