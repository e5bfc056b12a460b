"""A path for Orbax that is taken literally, whatever characters it has.

Orbax finds the files that the processes of a run have written by a glob of the whole path. With etils' own path it
therefore finds nothing in a folder `lr[1e-4]`, and for `lr[12]` it may find and merge the files of `lr1` and `lr2`.
Orbax keeps the class of the path that it is given, so a class that globs below itself alone is enough.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

from etils.epath.gpath import PosixGPath


class LiteralPath(PosixGPath):
    """A local path; only the pattern given to `glob` is a pattern."""

    # The base class would take a first folder named gs, s3, az or hf for a bucket, even where a disk is mounted there.
    _uri_scheme = None

    def glob(self, pattern: str) -> Iterator[LiteralPath]:
        """Yields the paths below this one that match a pattern."""
        for found in glob.iglob(pattern, root_dir=os.fspath(self)):
            yield self / found
