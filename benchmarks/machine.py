"""Describes the machine on which a result was measured."""

from __future__ import annotations

import platform
from pathlib import Path


def find_machine() -> str:
    """Returns architecture and processor, such as "x86_64, 2 cores of AMD EPYC"."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{len(names)} cores of {names[0]}" if names else platform.processor()
    return f"{platform.machine()}, {processor}"
