"""Keeps checksums of the small files of a set and of its shards, in which a changed bit would be read as another value.

Records have checksums of their own. The card, the tables of lengths, the empty prompt and the names have none, and a
bit that storage changes in them makes another number of tokens, or another prompt, without any error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lct_jax.data.sets.lengths import MAKE_AGAIN
from lct_jax.errors import InputError
from lct_jax.files import hash_file, replace_atomically

SUMS_FILE = "checksums.json"


def write_checksums(folder: Path, names: Iterable[str], *, coming: Mapping[str, str] = {}) -> None:
    """Writes the checksums of files in a folder.

    Args:
        coming: the texts of files that are written after this one.
    """
    sums = {name: hash_file(folder / name) for name in names}
    sums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in coming.items()}
    with replace_atomically(folder / SUMS_FILE) as unfinished:
        unfinished.write_text(json.dumps(sums, indent=1), encoding="utf-8")


def check_checksums(folder: Path) -> None:
    """Raises InputError for a file that has changed since it was written; earlier versions wrote no checksums."""
    path = folder / SUMS_FILE
    if not path.exists():
        return
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(name), str(expected)) for name, expected in sums.items()]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}): {MAKE_AGAIN}") from None
    for name, expected in pairs:
        found = hash_file(folder / name)
        if found != expected:
            raise InputError(
                f"{folder / name}: found checksum {found[:16]}, expected {expected[:16]} of {SUMS_FILE}: {MAKE_AGAIN}"
            )
