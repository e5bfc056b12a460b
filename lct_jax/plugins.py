"""Finds parts by the name in a config, which is that of a file in the part's folder: a new part needs only its file."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from lct_jax.errors import InputError


def find_plugin(name: str, *, package: str, attribute: str, field: str) -> Any:
    """Returns what the module `name` of a package defines under `attribute`.

    Args:
        name: the name of a module, from a config or from the header of a file.
        package: the package whose modules are searched, such as "lct_jax.codecs".
        attribute: what a module of this kind defines, such as "CODEC".
        field: the config's field or the file that gave the name, for the error.

    Raises:
        InputError: the package has no such module, or the module does not define the attribute.
    """
    # Only modules of this folder are imported: a file's header must not choose anything else.
    files = [
        module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]
    if name in files and hasattr(module := importlib.import_module(f"{package}.{name}"), attribute):
        return getattr(module, attribute)
    known = [n for n in files if hasattr(importlib.import_module(f"{package}.{n}"), attribute)]
    raise InputError(f"{field}: found {name!r}, expected one of {', '.join(known)}")
