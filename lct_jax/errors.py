"""The one exception a user is meant to read, and the wrapper that prints it as one line.

Everything a user can get wrong (a flag, a file, a field, a checkpoint) raises `InputError` with a message of
one line: where, what was found, what was expected. Anything else is our bug and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence


class InputError(ValueError):
    """Bad input: the message names the file, field or flag, what was found and what was expected."""


def exit_on_input_error(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """Wraps an `absl.app` main so that an `InputError` ends the process with one line and exit code 2."""

    def wrapped(argv: Sequence[str]) -> None:
        try:
            main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    return wrapped
