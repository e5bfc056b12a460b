"""Finds the files in a folder of videos: those to prepare, all others, and the lists that a user put beside a video.

Every file becomes an `Input`, with a problem where it cannot be prepared. Beside `NAME.mp4` may lie `NAME.scenes.json`
(a whole scene file), `NAME.cuts.json` (shots, or shots of scenes) and captions (`caption_files.py`); `lists.py` decides
which list belongs to which video.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lct_jax.data.footage.lists import describe_misnamed, find_list, find_strays, is_list
from lct_jax.data.scene_fields import CutListFields
from lct_jax.directing.field_reader import open_source
from lct_jax.errors import InputError
from lct_jax.media.frame_rate import count_frames, find_counted, read_rate
from lct_jax.media.frames import VIDEO_SUFFIXES

Range = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """Describes a file of the folder: its name relative to it, its path, and why it cannot be prepared ("" if it can
    be)."""

    name: str
    path: Path
    problem: str


@dataclass(frozen=True)
class CutList:
    """Holds a user's shots as frames at `prepare.fps`, and which of them make which scene (None: they are to be
    grouped)."""

    shots: tuple[Range, ...]
    scenes: tuple[tuple[int, ...], ...] | None


def find_inputs(folder: Path, *, out: Path) -> list[Input]:
    """Returns every file under a folder, sorted by name, except lists that a video uses and files under `out`.

    A list that no video uses is an input with a problem. Links are followed, once to each folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: found no folder, expected one with videos")
    found = sorted(_walk(folder, out.resolve()), key=lambda item: item[0])
    return [Input(name, folder / name, problem or _judge(folder / name)) for name, problem in found]


def beside(video: Path, suffix: str) -> Path | None:
    """Returns the list beside a video, such as `NAME.cuts.json`, if there is one."""
    return find_list(video, (suffix,))


def read_cut_list(path: Path, *, fps: float, own: Fraction) -> CutList:
    """Reads a user's cuts as frames at `fps`, of a video whose own rate is `own`.

    The file is `{"format": "lct_jax.cuts/1", "fps": 24, "shots": [[start, end], ...]}`, or in place of `shots`
    `"scenes": [[[start, end], ...], ...]`: frames at its own rate, [start, end), in order. A shot in which no frame at
    `fps` is shown becomes an empty range.
    """
    source = open_source(path)
    fields = source.parse(CutListFields)
    if (fields.shots is None) == (fields.scenes is None):
        raise InputError(f"{path}: expected either shots or scenes")
    counted, rate = find_counted(fields.fps, own, fps=fps), read_rate(fps)
    shots: list[Range] = []
    members = []
    for number, scene in enumerate([fields.shots] if fields.scenes is None else fields.scenes):
        first = len(shots)
        for i, bounds in enumerate(scene):
            start, end = count_frames(*bounds, counted=counted, fps=rate)
            if shots and start < shots[-1][1]:
                where = ("shots", i) if fields.scenes is None else ("scenes", number, i)
                source.refuse(where, f"found {bounds}, expected shots in order")
            shots.append((start, end))
        members.append(tuple(range(first, len(shots))))
    if not shots:
        raise InputError(f"{path}: found no shot, expected at least one")
    return CutList(tuple(shots), None if fields.scenes is None else tuple(members))


def _walk(folder: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Yields the relative names of files, each with its problem or ""."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        here = os.path.relpath(place, folder)
        if real in seen:
            folders.clear()
            if os.path.islink(place):
                yield here, "a link to a folder that is looked at already"
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if Path(real, name) != out)
        strays = find_strays(files)
        for name in files:
            # A list that a video uses has no row, unless it cannot be read.
            unread = is_list(name) and name not in strays and _judge_file(Path(place, name))
            if name in strays or unread or not is_list(name):
                yield os.path.normpath(os.path.join(here, name)), strays.get(name, unread or "")


def _judge(path: Path) -> str:
    problem = _judge_file(path)
    if not problem and path.suffix.lower() not in VIDEO_SUFFIXES:
        return describe_misnamed(path.name) or "not a video by its name"
    return problem


def _judge_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    return "" if stat.S_ISREG(mode) else "not a regular file"
