"""Reads scripts in the layouts of other projects, and writes scripts in them.

    python -m lct_jax.directing.convert --script=FILE --out=FILE.yaml
    python -m lct_jax.directing.convert --script=FILE.yaml --to=holocine --out=FOLDER

What the file is, is seen in it: a script of ours, HoloCine's prompt or arguments, a table or a caption file of
MultiShotMaster or ShotStream, a story of StoryMem or EntityBench. A table with several rows becomes a folder of
scripts. `--to` takes entitybench, holocine, multishotmaster, shotstream and storymem. Each field that has no place on
the other side is named in a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from lct_jax.cli import define_path, run
from lct_jax.directing.field_reader import YAML_SUFFIXES, Source, open_source
from lct_jax.directing.formats import (
    STORIES,
    TABLES,
    Exported,
    Imported,
    read_holocine,
    read_shots,
    read_story,
    read_table,
    write_holocine,
    write_story,
    write_table,
)
from lct_jax.directing.formats.values import check_object
from lct_jax.directing.save_script import save_script, to_plain
from lct_jax.directing.script import Script, load_script, read_script
from lct_jax.errors import InputError, make_folder
from lct_jax.files import replace_atomically

SCRIPT = define_path("script", "Script to read, in any of the layouts.", required=True)
OUT = define_path("out", "Script (.yaml, .json) or folder to write.", required=True)
TO = flags.DEFINE_enum(
    "to", "script", ["script", "holocine", *sorted(TABLES), *STORIES], "Layout to write."
)


def main(argv: Sequence[str]) -> None:
    del argv
    source, out = Path(SCRIPT.value), Path(OUT.value)
    found = list(read_any(source))
    if TO.value == "script" and out.suffix in (*YAML_SUFFIXES, ".json"):
        if len(found) > 1:
            raise InputError(f"--out: found a file for {len(found)} scripts, expected a folder")
        paths = [out]
    else:
        make_folder(out)
        names = [source.stem] if len(found) == 1 else [f"{n:04d}" for n in range(1, len(found) + 1)]
        paths = [out / name for name in names]
    for path, imported in zip(paths, found, strict=True):
        for note in imported.notes:
            print(f"{source}: {note}")
        for line in write(imported.script, path):
            print(line)


def read_any(path: Path) -> Iterator[Imported]:
    """Yields the scripts in a file of any layout; raises InputError where it has none of them."""
    if path.suffix.lower() == ".csv":
        yield from (_check_script(imported, path) for imported in read_table(path))
        return
    if path.suffix.lower() in YAML_SUFFIXES:
        yield Imported(load_script(path), ())
        return
    text = open_source(path).text
    try:
        value = _parse(text)
        ours = isinstance(value, dict) and "format" in value
        imported = None if ours else _read_value(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    yield Imported(load_script(path), ()) if imported is None else _check_script(imported, path)


def write(script: Script, path: Path) -> Iterator[str]:
    """Writes a script in the layout that was asked for, and yields notes and the names of files."""
    if TO.value == "script":
        path = path if path.suffix else path.with_suffix(".yaml")
        save_script(path, script)
        yield str(path)
        return
    exported = export(script, path.name, layout=TO.value)
    yield from exported.notes
    for name, text in exported.files.items():
        with replace_atomically(path.parent / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        yield str(path.parent / name)


def export(script: Script, name: str, *, layout: str) -> Exported:
    """Returns a script in a layout that is not ours."""
    if layout == "holocine":
        return write_holocine(script, name)
    if layout in STORIES:
        return write_story(script, name, layout=layout)
    return write_table(script, name, layout=layout)


def _read_value(value: Any) -> Imported:
    if isinstance(value, str):
        return read_holocine(value)
    keys = check_object(value, "top level").keys()
    if "scenes" in keys:
        return read_story(value)
    if keys & {"prompt", "shot_captions"}:
        return read_holocine(value)
    if "global_caption" in keys:
        return read_shots(value)
    expected = "format, prompt, shot_captions, global_caption or scenes"
    raise InputError(f"found keys {sorted(keys)}, expected one of {expected}")


def _parse(text: str) -> Any:
    """Returns the JSON value of a text, or the text itself where it is a prompt and no JSON."""
    if not text.lstrip().startswith(("{", '"')) and "[per shot caption]" in text.lower():
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"neither JSON ({error}) nor a prompt with [per shot caption]") from None


def _check_script(imported: Imported, path: Path) -> Imported:
    """Returns what was read; raises InputError where it would be refused as a script."""
    plain = to_plain(imported.script, folder=Path())
    read_script(Source(f"{path}: as a script", json.dumps(plain)), folder=Path())
    return imported


if __name__ == "__main__":
    run(main)
