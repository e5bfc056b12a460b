"""Scripts of MultiShotMaster and ShotStream: a table with a row a scene, and a JSON file with the captions of each.

A row names the JSON file and the frames of every shot as `[[0, 81], [81, 162]]`; the file holds `global_caption` and
one caption a shot. ShotStream's columns are `json_path` and `frame_number`, and its shots `shot1`, `shot2`, ...
(KlingAIResearch/ShotStream at 7ddcfae: its demo data and its dataset class). MultiShotMaster's columns are
`gemini_caption` and `shot_groups`, and its shots `shot0`, `shot1`, ...: its repository, KlingTeam/MultiShotMaster,
could not be read, and these are the names by which a public adapter calls its inference.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lct_jax.directing.field_reader import open_source
from lct_jax.directing.formats.values import (
    Exported,
    Imported,
    TheirFields,
    check_fields,
    check_texts,
    describe_missing,
    fit_lengths,
    name_unread,
    name_unwritten,
)
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt, render_global
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

_SHOT = re.compile(r"shot_?(\d+)")
_PART = re.compile(r"(?<= )(Character \w+|Environment|Story): ")
_RANGES = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*\]")


@dataclass(frozen=True)
class Table:
    """The words of a project: the columns of its table, and the number of the first shot in its JSON files.

    Attributes:
        captions, frames: the columns with the path of the JSON file and with the frames of the shots.
        counts: the column with the number of shots; empty where there is none.
        first: the number of the first shot.
    """

    captions: str
    frames: str
    counts: str
    first: int


class Captions(TheirFields):
    """The object in a JSON file of captions, but for its shots, whose keys have numbers."""

    global_caption: str = ""


TABLES = {
    "multishotmaster": Table("gemini_caption", "shot_groups", "", first=0),
    "shotstream": Table("json_path", "frame_number", "shot_num_from_caption", first=1),
}


def read_table(path: Path) -> Iterator[Imported]:
    """Yields the script of every row of a table; raises InputError naming the row."""
    reader = csv.DictReader(io.StringIO(open_source(path).text, newline=""))
    columns = set(reader.fieldnames or ())
    table = next((t for t in TABLES.values() if {t.captions, t.frames} <= columns), None)
    if table is None:
        expected = " or ".join(f"{t.captions} and {t.frames}" for t in TABLES.values())
        raise InputError(f"{path}: found columns {sorted(columns)}, expected {expected}")
    empty = True
    for row in reader:
        empty, where = False, f"line {reader.line_num}: "
        try:
            file = _find(path, row[table.captions] or "")
            values = json.loads(open_source(file).text)
            imported = read_shots(values, frames=row[table.frames] or "")
        except (InputError, ValueError) as error:
            raise InputError(f"{path}: {where}{error}") from None
        unread = name_unread(row, {table.captions, table.frames, table.counts})
        notes = dict.fromkeys((*unread, *imported.notes))
        yield imported._replace(notes=tuple(f"{where}{note}" for note in notes))
    if empty:
        raise InputError(f"{path}: found no row, expected one a scene below the names of columns")


def read_shots(values: Any, *, frames: str = "") -> Imported:
    """Returns the script in a JSON file of captions.

    Args:
        values: the file's object. frames: the first frame, and the one behind the last, of every shot.

    Raises:
        InputError: captions or frames are missing, or do not agree in number.
    """
    fields = check_fields(Captions, values, "captions")
    numbers = sorted(int(found[1]) for key in values if (found := _SHOT.fullmatch(key)))
    start = numbers[0] if numbers else 0
    if not numbers or start > 1 or numbers != list(range(start, start + len(numbers))):
        raise InputError(f"captions: found shots {numbers}, expected shot0 or shot1 and on")
    keys = {int(m[1]): key for key in values if (m := _SHOT.fullmatch(key))}
    texts = check_texts([values[keys[n]] for n in numbers], "captions")
    lengths, changed = _read_lengths(frames, len(texts))
    notes = name_unread(values, {"global_caption", *keys.values()})
    prompt = _split_caption(" ".join(fields.global_caption.split()))
    if not prompt.characters and prompt.environment:
        notes.append("global_caption: is one text, and stands whole in the environment")
    notes += describe_missing(prompt.characters, [prompt.environment, prompt.story, *texts])
    shots = tuple(
        ShotPrompt(text, frames=count) for text, count in zip(texts, lengths, strict=True)
    )
    return Imported(Script(prompt, shots), (*notes, *changed))


def write_table(script: Script, name: str, *, layout: str, frames: int = 81) -> Exported:
    """Returns a script as a table with one row, NAME.csv, and its captions, NAME.captions.json.

    Args:
        script, name: the script and the name of the files. layout: a key of `TABLES`.
        frames: the length of shots that have none; 81 is that of ShotStream's examples.
    """
    table = TABLES[layout]
    caption = "" if script.prompt is None else render_global(script.prompt)
    texts = {f"shot{n}": shot.text for n, shot in enumerate(script.shots, start=table.first)}
    captions = {"global_caption": caption, **texts}
    lengths = [shot.frames or frames for shot in script.shots]
    ranges, end = [], 0
    for length in lengths:
        ranges.append([end, end + length])
        end += length
    row = {table.captions: f"{name}.captions.json", table.frames: str(ranges)}
    if table.counts:
        row = {table.counts: str(len(lengths)), **row}
    notes = name_unwritten(script, written={"frames"}, layout=layout)
    unknown = [str(n) for n, shot in enumerate(script.shots, start=1) if shot.frames is None]
    notes += [f"frames: shots {', '.join(unknown)} have none and get {frames}"] * bool(unknown)
    files = {
        f"{name}.csv": _write_row(row),
        f"{name}.captions.json": json.dumps(captions, indent=1, ensure_ascii=False) + "\n",
    }
    return Exported(files, tuple(notes))


def _split_caption(caption: str) -> GlobalPrompt:
    """Returns a global caption as the environment, or as what `render_global` wrote it from."""
    parts = _PART.split(f" {caption}")
    if parts[0].strip() or len(parts) == 1:
        return GlobalPrompt({}, caption, "")
    found = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    characters = {
        name.removeprefix("Character "): text
        for name, text in found.items()
        if name.startswith("Character ")
    }
    return GlobalPrompt(characters, found.get("Environment", ""), found.get("Story", ""))


def _find(table: Path, name: str) -> Path:
    """Returns the file that a row names, from the table's folder or from one above it, as these projects do."""
    for folder in (Path(), table.parent, *table.parent.parents):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{name!r}: no such file, from here or from the folders of the table")


def _read_lengths(frames: str, count: int) -> tuple[list[int] | list[None], list[str]]:
    if not frames:
        return [None] * count, []
    ranges = [(int(start), int(end)) for start, end in _RANGES.findall(frames)]
    if len(ranges) != count or not all(start < end for start, end in ranges):
        raise InputError(f"frames: found {frames!r}, expected [first, end] of {count} shots")
    return fit_lengths("frames", [end - start for start, end in ranges])


def _write_row(row: Mapping[str, str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue()
