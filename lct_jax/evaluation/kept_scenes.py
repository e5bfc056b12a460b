"""Keeps what was measured of each scene in a file, so that a measurement that was stopped goes on where it was.

The first line of the file is what the results depend on, every other one is a scene, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lct_jax.errors import InputError
from lct_jax.files import replace_atomically


def iter_scenes(
    file: Path, made: Mapping[str, Any], scenes: int, measure: Callable[[int], Any]
) -> Iterator[Any]:
    """Yields the result of every scene, from the file where it is in it, and writes the others to it.

    Args:
        file: the file.
        made: everything that the results depend on, as JSON values.
        scenes: how many there are.
        measure: returns the result of a scene, by its number, as JSON values.

    Raises:
        InputError: the file has scenes that were sampled from other weights or in another way.
    """
    head = json.dumps(made)
    lines = file.read_text().splitlines() if file.exists() else [head]
    if lines[0] != head:
        raise InputError(
            f"{file}: found results of other weights or settings, expected none or those of this"
            " command (--name or --out)"
        )
    for number in range(scenes):
        if number + 1 == len(lines):
            lines.append(json.dumps(measure(number)))
            with replace_atomically(file) as unfinished:
                unfinished.write_text("\n".join(lines) + "\n")
        yield json.loads(lines[number + 1])
