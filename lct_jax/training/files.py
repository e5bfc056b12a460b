"""Text files that are there whole or not at all, whatever stops the process."""

from __future__ import annotations

from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Writes a file beside its place and renames it; a killed writer leaves `NAME.partial`, which the next replaces."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
