"""Takes a folder of videos through the stages up to their scene files, and reports the outcome of every file.

The `Report` has a row for each input: how many shots were found, kept, and left out for which reason, and the scene
file of those that are ready to be encoded. Every file has a row, and a bad file does not stop the others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unicodedata import category

import numpy as np

from lct_jax.chat import endpoint_from_environment
from lct_jax.config import Config
from lct_jax.data.footage import STAGES
from lct_jax.data.footage.caption_files import find_captions
from lct_jax.data.footage.find_videos import beside, find_inputs
from lct_jax.data.footage.grouping import SeenShots
from lct_jax.data.footage.lists import SCENES_SUFFIX
from lct_jax.data.footage.own_scenes import OwnScenes, check_scene_file, iter_shown
from lct_jax.data.footage.stages import (
    FindTakesJob,
    FoundTakes,
    WriteScenesJob,
    find_film_takes,
    write_scene_file,
)
from lct_jax.data.footage.takes import Takes
from lct_jax.data.footage.text_limits import TooLong
from lct_jax.data.runner import Runner
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically

_OUTCOMES = dict(zip(STAGES, ("looked at", "ready", "prepared"), strict=True))
REPORT_FILE = "report.json"
_STEERING = ("Cc", "Cf", "Zl", "Zp")  # control, format, and separators of lines and paragraphs
_JOINERS = "\u200c\u200d"  # steer nothing but letters and emoji


@dataclass
class FilmRow:
    """Records the outcome of one input.

    Attributes:
        name: the name in the folder. outcome: "prepared", "ready", "looked at", "set aside" or "nothing left". why: the
            reason.
        shots: the number of shots by outcome. scenes: the scene file. split: the split of the film.
        notes: faults of its timestamps that were mended.
        too_long: texts over their limit, with the tokens found and expected, and what was done.
    """

    name: str
    outcome: str = ""
    why: str = ""
    shots: dict[str, int] = field(default_factory=dict)
    scenes: Path | None = None
    split: str = ""
    notes: str = ""
    too_long: list[str] = field(default_factory=list)

    def set_aside(self, why: object) -> None:
        """Marks the input as not usable."""
        self.outcome, self.why = "set aside", " ".join(str(why).split())

    def finish(self, problem: InputError | None, too_long: Sequence[TooLong]) -> None:
        """Marks a ready film as prepared, or as refused by the encoder; shots whose text is too long are left out."""
        self.too_long = [str(item) for item in too_long]
        lost = sum(item.lost for item in too_long)
        if lost:
            self.shots = {**self.shots, "text too long": lost}
            if "kept" in self.shots:
                self.shots["kept"] -= lost
        if problem is None:
            self.outcome = "prepared"
        else:
            self.set_aside(problem)


# A film with a scene file of the user's own: its row, the file, and what it describes.
Own = tuple[FilmRow, Path, OwnScenes]


@dataclass
class Report:
    """Holds the rows of a folder and the tokens that captions took."""

    rows: list[FilmRow]
    usage: Counter[str] = field(default_factory=Counter)

    @property
    def ready(self) -> list[FilmRow]:
        """Returns the films that have a scene file."""
        return [row for row in self.rows if row.scenes is not None]

    def count(self, stage: str) -> int:
        """Returns how many inputs have passed a stage that was the last one of its run."""
        return sum(row.outcome == _OUTCOMES[stage] for row in self.rows)

    def show(self) -> str:
        """Returns the report as a table for the terminal, with the totals of what the filters left out."""
        lines = [
            f"{row.outcome:12} {_printable(row.name)}"
            + (f": {row.why}" if row.why else _counts(row.shots))
            + (f"; {row.notes}" if row.notes else "")
            + "".join(f"\n    {_printable(line)}" for line in row.too_long)
            for row in self.rows
        ]
        total = Counter()
        for row in self.rows:
            total.update(row.shots)
        outcomes = Counter(row.outcome for row in self.rows)
        spoken = f"\nchat: {dict(self.usage)}" if self.usage["requests"] else ""
        return (
            "\n".join([*lines, f"{len(self.rows)} inputs {dict(outcomes)}{_counts(dict(total))}"])
            + spoken
        )

    def save(self, out: Path) -> None:
        """Writes `report.json`."""
        keys = ("name", "outcome", "why", "shots", "split", "notes", "too_long")
        rows = [{key: getattr(row, key) for key in keys} for row in self.rows]
        with replace_atomically(out / REPORT_FILE) as unfinished:
            unfinished.write_text(json.dumps({"inputs": rows, "chat": dict(self.usage)}, indent=1))


def describe_videos(
    videos: Path, out: Path, config: Config, *, runner: Runner, until: str, credit: str
) -> Report:
    """Runs the stages before encoding; raises InputError where there is no folder or no endpoint to ask."""
    if config.footage.captions == "chat" and until != STAGES[0]:
        # A missing endpoint is refused at once, not once for each film.
        endpoint_from_environment()
    inputs = find_inputs(videos, out=out)
    report = Report([FilmRow(item.name) for item in inputs])
    jobs: list[tuple[FilmRow, FindTakesJob]] = []
    annotated: list[tuple[FilmRow, Path]] = []
    for row, item in zip(report.rows, inputs, strict=True):
        if item.problem:
            row.set_aside(item.problem)
        elif own := beside(item.path, SCENES_SUFFIX):
            annotated.append((row, own))
        else:
            jobs.append((row, FindTakesJob(item.name, item.path, out, config)))
    if config.footage.captions == "file":
        # Of two copies of a film, or of a shot, the first one is kept: it should be one that has captions.
        jobs.sort(key=lambda pair: find_captions(pair[1].path) is None)
    own = _take_scene_files(annotated, config, runner)
    found = _find_takes(jobs, runner, films={item.film: row.name for row, _, item in own})
    if until != STAGES[0]:
        seen = SeenShots(config.footage)
        if found:
            _see_own(own, seen, out, config, runner)
        _write_scenes(found, report, config, seen=seen, runner=runner, credit=credit)
    return report


def choose_splits(films: list[str], *, held_out: float) -> list[str]:
    """Chooses a split for every film by the hash of its content alone; of several films at least one is held out."""
    shares = [int(film[:8], 16) / 2**32 for film in films]
    limit = held_out
    if held_out > 0 and len(set(shares)) > 1 and min(shares) >= held_out:
        limit = np.nextafter(min(shares), 1)
    return ["held_out" if share < limit else "train" for share in shares]


def _take_scene_files(
    annotated: Sequence[tuple[FilmRow, Path]], config: Config, runner: Runner
) -> list[Own]:
    """Checks a user's own scene files, which need no stage before encoding, and returns those that can be used."""
    check = partial(check_scene_file, config=config)
    results = runner(check, [path for _, path in annotated])
    own, contents = [], {}
    for (row, path), result in zip(annotated, results, strict=True):
        if isinstance(result, InputError):
            row.set_aside(result)
        elif result.content in contents:
            row.set_aside(f"the same content and scenes as {contents[result.content]}")
        else:
            contents[result.content] = row.name
            row.outcome, row.scenes = "ready", path
            own.append((row, path, result))
    return own


def _see_own(
    own: Sequence[Own], seen: SeenShots, out: Path, config: Config, runner: Runner
) -> None:
    """Stores the shots of films with their own scene file, so that those of other films are compared with them."""
    jobs = [FindTakesJob(row.name, item.path, out, config) for row, _, item in own]
    for (row, path, _), result in zip(own, runner(find_film_takes, jobs), strict=True):
        if isinstance(result, InputError):
            row.notes = f"other films are not compared with it ({result})"
            continue
        takes = Takes.load(result.takes)
        lengths = np.diff(takes.frames, axis=1)[:, 0]
        for number in iter_shown(takes, path, fps=config.prepare.fps):
            seen.add(takes.thumbs[number], int(lengths[number]))


def _find_takes(
    jobs: list[tuple[FilmRow, FindTakesJob]], runner: Runner, *, films: dict[str, str]
) -> list[tuple[FilmRow, FindTakesJob, FoundTakes]]:
    """Finds the takes of films; copies of each other, or of `films` (names by hash), are set aside."""
    done = []
    for (row, job), result in zip(
        jobs, runner(find_film_takes, [job for _, job in jobs]), strict=True
    ):
        if isinstance(result, InputError):
            row.set_aside(result)
        elif result.film in films:
            row.set_aside(f"the same content as {films[result.film]}")
        else:
            films[result.film] = job.name
            row.outcome, row.notes = "looked at", result.notes
            done.append((row, job, result))
    return done


def _write_scenes(
    found: list[tuple[FilmRow, FindTakesJob, FoundTakes]],
    report: Report,
    config: Config,
    *,
    seen: SeenShots,
    runner: Runner,
    credit: str,
) -> None:
    splits = choose_splits(
        [result.film for _, _, result in found], held_out=config.footage.held_out
    )
    jobs = []
    for (row, job, result), split in zip(found, splits, strict=True):
        row.split = split
        jobs.append(
            WriteScenesJob(job, result, _find_seen(seen, Takes.load(result.takes)), split, credit)
        )
    for (row, _, _), result in zip(found, runner(write_scene_file, jobs), strict=True):
        if isinstance(result, InputError):
            row.set_aside(result)
            continue
        row.shots, row.scenes = result.shots, result.scenes
        row.outcome = "ready" if result.scenes else "nothing left"
        report.usage.update(result.usage)


def _find_seen(seen: SeenShots, takes: Takes) -> tuple[int, ...]:
    """Returns the takes of a film that an earlier film, or the film itself, has already shown."""
    lengths = np.diff(takes.frames, axis=1)[:, 0].tolist()
    return tuple(
        number
        for number, (thumbs, length) in enumerate(zip(takes.thumbs, lengths, strict=True))
        if takes.reason[number] == 0 and seen.add(thumbs, length)
    )


def _counts(shots: dict[str, int]) -> str:
    listed = ", ".join(f"{count} {name}" for name, count in sorted(shots.items()) if count)
    return f": {listed}" if listed else ""


def _printable(name: str) -> str:
    """Returns a name in which line breaks and characters that would steer a terminal are written as escapes."""
    shown = name.encode(errors="backslashreplace").decode()
    steers = lambda c: category(c) in _STEERING and c not in _JOINERS
    return "".join(c.encode("unicode_escape").decode() if steers(c) else c for c in shown)
