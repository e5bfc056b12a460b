"""What a path on a command line or in a config may be: a file or folder in this machine's file systems.

Checkpoints, records, videos and weights are read and written by five libraries, and each gives some characters a
meaning of its own. Programs therefore take a path through `local_path`, which expands a leading `~` (a shell does not,
after `--flag=`) and refuses at once what one of these libraries could not use, instead of after a day of training.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from lct_jax.errors import InputError

_IS_PATH = "a path of this machine's file systems"
# The type of a config's field that holds a path; `config.fields.build` passes its value through `local_path`.
LocalPath = Annotated[str, _IS_PATH]

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
# Orbax and TensorStore misread these: a backslash, and a folder that is named like the beginning of a remote path. A
# line break or another control character would break the one line that names the path.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\]|(?<=/)(?:gs|s3|az|hf):(?=/|$)")


def local_path(text: str, where: str) -> str:
    """Returns a path with a leading `~` expanded; the empty text stays empty.

    Args:
        text: what a user wrote.
        where: the flag or field that it is the value of, for the message.

    Raises:
        InputError: the path is remote (`gs://` and the like); or it has, in itself or in the folder it is relative to,
            a control character, a backslash, a folder named `gs:` and the like, or bytes that are not UTF-8.
    """
    if _REMOTE.match(text):
        raise InputError(
            f"{where}: found {text!r}, expected a path of this machine's file systems: mount the bucket "
            "(gcsfuse, mount-s3, rclone mount), or copy it here"
        )
    expanded = os.path.expanduser(text)
    absolute = str(Path(expanded).absolute()) if text else ""
    wrong = _UNUSABLE.search(absolute)
    if wrong:
        raise InputError(f"{where}: found {absolute!r}, expected a path without {wrong[0]!r}")
    if not _is_utf8(absolute):
        raise InputError(f"{where}: found {absolute!r}, expected a path in UTF-8")
    return expanded


def is_path(hint: object) -> bool:
    """Returns whether a field's type hint (with extras) is `LocalPath`."""
    return _IS_PATH in getattr(hint, "__metadata__", ())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
