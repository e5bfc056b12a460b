"""The files that a script names as conditions: whether they are there, and what goes with which of them."""

from __future__ import annotations

import stat
from pathlib import Path

from lct_jax.directing.field_reader import Source, Step, show
from lct_jax.directing.prompts import Condition
from lct_jax.directing.script_fields import ConditionFields, EdgeFields, PictureFields
from lct_jax.errors import one_line

LATENTS = ".safetensors"


def make_condition(
    source: Source,
    at: tuple[Step, ...],
    fields: ConditionFields | PictureFields | str | None,
    *,
    folder: Path,
) -> Condition | None:
    """Returns the condition that the field at `at` is, or None for none; raises InputError where its file is none."""
    if fields is None:
        return None
    named = isinstance(fields, str)
    file = folder / (fields if named else fields.file)
    if complaint := _find_fault(file):
        source.refuse(at if named else (*at, "file"), complaint)
    if file.suffix == LATENTS and at[-1] != "given":
        source.refuse(at, f"found latents, {file.name!r}, expected an image or a video")
    if named:
        return Condition(str(file))
    tensor = getattr(fields, "tensor", "")
    if tensor and file.suffix != LATENTS:
        source.refuse((*at, "tensor"), f"found beside {file.name!r}, which holds no latents")
    frames = fields.frames if isinstance(fields, EdgeFields) else None
    wrong = 1 if at[-1] == "first" else 0
    if frames is not None and frames % 4 != wrong:
        expected = "4n+1 first frames" if wrong else "4n last frames"
        source.refuse((*at, "frames"), f"found {frames}, expected {expected}")
    return Condition(str(file), fields.time, frames, tensor)


def _find_fault(file: Path) -> str:
    """Returns what is wrong with the path of a file; "" where nothing is."""
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte
        return f"no such file: {str(file)!r}"
    except OSError as error:
        return f"found {show(file.name)}, expected a file that can be read ({one_line(error)})"
    if stat.S_ISREG(mode):
        return ""
    found = "a folder" if stat.S_ISDIR(mode) else "a device"
    return f"found {found}, expected a file: {str(file)!r}"
