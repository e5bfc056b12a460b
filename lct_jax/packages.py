"""Finds files in installed packages that are used for their weights alone; nothing of them is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lct_jax.errors import InputError


def find_in_package(package: str, *names: str, version: str, what: str, instead: str = "") -> Path:
    """Returns the path of a file or folder in an installed package, of which nothing is run.

    Args:
        package: the name under which it is installed. names: the path in the package's folder.
        version: the version to install where it is missing. what: what it is for, for the error.
        instead: what can be given in its place, for the error.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{what}: found no package {package}, expected it installed "
            f"(pip install --no-deps {package}=={version}){instead}"
        )
    return Path(spec.submodule_search_locations[0], *names)
