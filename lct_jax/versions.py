"""Versions of Python and of the packages that decide the exact bits of a training step."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
# Compilers of accelerators, each installed on some machines only.
COMPILERS = ("libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin")


def read_versions() -> dict[str, str]:
    """Returns by name the versions of Python, of the packages that a step depends on, and of installed compilers."""
    found = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    for name in COMPILERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def compare_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns one line of the differences, such as `jax 0.12.0.1 instead of 0.10.2`; "" where there are none.

    Args:
        before: the versions of a checkpoint; empty where it was saved without them.
        now: the versions of this process.
    """
    if not before:
        return ""
    changes = [
        f"{name} {now.get(name, 'absent')} instead of {before.get(name, 'absent')}"
        for name in dict.fromkeys((*before, *now))
        if now.get(name) != before.get(name)
    ]
    if not changes:
        return ""
    return f"{', '.join(changes)}: steps may differ in their last bits from those of before"
