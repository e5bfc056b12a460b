"""Versions of Python and of the packages that a training step depends on: same versions, same bits."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
# Compilers of accelerators, each installed on some machines only.
COMPILERS = ("libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin")


def read_versions() -> dict[str, str]:
    """Returns versions by name: of Python, of what a step depends on, and of the compilers that are installed."""
    found = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    for name in COMPILERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def compare_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns one line of what differs, such as `jax 0.12.0.1 instead of 0.10.2`; "" where nothing does.

    Args:
        before: of a checkpoint; empty where it was saved without them. now: of this process.
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
