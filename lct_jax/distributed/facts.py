"""Facts that must be the same on all processes of a run: code, versions and the command line.

Processes that run different programs start collectives that do not match, and then hang or compute wrong numbers
without an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lct_jax.distributed.peers import Peers
from lct_jax.errors import InputError
from lct_jax.versions import read_versions

# Flags that may differ between processes.
OWN = ("process_id",)
ROOT = Path(__file__).parents[1]

Facts = Mapping[str, str]


def read_facts() -> Facts:
    """Returns code, versions and flags of this process by name."""
    return {"code": hash_code(), **read_versions(), **read_flags()}


def hash_code(root: Path = ROOT) -> str:
    """Returns a hash of the package's sources, and of train.py and sample.py where they lie beside it."""
    files = [*sorted(root.rglob("*.py")), root.parent / "train.py", root.parent / "sample.py"]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.relative_to(root.parent).as_posix().encode() + b"\0")
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def read_flags() -> Facts:
    """Returns every flag of this project, and each field of a config by itself: `--config.data.seed` -> `0`."""
    found: dict[str, str] = {}
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(("absl", "jax", "grain", "orbax")):
            continue
        for flag in defined:
            if flag.name not in OWN:
                found |= _flatten(f"--{flag.name}", flag.value)
    return found


def check_alike(peers: Peers, facts: Facts, *, timeout: float) -> None:
    """Raises InputError on every process, naming the first fact that differs between processes."""
    digest = hashlib.sha256(json.dumps(sorted(facts.items())).encode()).hexdigest()
    digests = peers.gather("what is run", digest, timeout=timeout)
    if len(set(digests)) == 1:
        return
    for complaint in find_differences(peers.gather("facts", dict(facts), timeout=timeout)):
        raise InputError(complaint)


def find_differences(facts: list[Facts]) -> list[str]:
    """Returns one line for every fact in which a process differs from process 0, with both values."""
    lines = []
    for name in dict.fromkeys(name for own in facts for name in own):
        values = [own.get(name, "nothing") for own in facts]
        others = {value: values.index(value) for value in values if value != values[0]}
        if others:
            found = ", ".join(f"{value} on process {first}" for value, first in others.items())
            lines.append(f"{name}: found {found}, expected {values[0]} as on process 0")
    return lines


def _flatten(name: str, value: Any) -> Facts:
    if isinstance(value, ConfigDict):
        fields = value.items()
        return {
            k: v for field, part in fields for k, v in _flatten(f"{name}.{field}", part).items()
        }
    return {name: repr(value)}
