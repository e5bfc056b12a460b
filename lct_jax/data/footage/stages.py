"""Runs the stages before encoding for one film: finds the takes of a video, and makes a scene file of them.

Each stage is a function of one job. Its result lies in the set's `work` folder under a hash of everything it depends
on: an existing result is not made again, and a changed threshold repeats only the stages after it. The last result is a
scene file like one that a user writes; it can be read, edited and put beside the video.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lct_jax.chat import (
    Chat,
    ChatError,
    RefusedAnswer,
    Usage,
    endpoint_from_environment,
)
from lct_jax.config import Config
from lct_jax.data.footage.caption_files import find_captions, read_lines
from lct_jax.data.footage.caption_frames import iter_pictures
from lct_jax.data.footage.captions import (
    Caption,
    ask_about,
    caption_from_lines,
    check_answer,
    count_unused,
    find_fault,
)
from lct_jax.data.footage.cuts import track_video
from lct_jax.data.footage.find_videos import CutList, beside, read_cut_list
from lct_jax.data.footage.grouping import group_takes
from lct_jax.data.footage.lists import CUTS_SUFFIX
from lct_jax.data.footage.takes import REASONS, Takes, find_takes
from lct_jax.data.footage.text_limits import load_limits
from lct_jax.data.scene_file import SCENE_FORMAT, UNKNOWN
from lct_jax.data.sources import choose_size
from lct_jax.errors import InputError
from lct_jax.files import hash_file, hash_of, replace_atomically
from lct_jax.media.frames import read_own_rate, read_shape

VERSION = 6  # of the rules below; a new one makes every result again
# These reasons mean that a caption model could not be reached, or wrote nothing that could be used. Both are asked for
# again in the next run, because an endpoint, its limits or its model may have changed since.
NO_ANSWER, REFUSED = "no answer", "caption refused"


@dataclass(frozen=True)
class FindTakesJob:
    """Names a video whose takes are to be found: its name in the folder, its path, and the set it goes into."""

    name: str
    path: Path
    out: Path
    config: Config


@dataclass(frozen=True)
class FoundTakes:
    """Describes a video whose takes were found: its hash, the file of its takes, and faults of its timestamps."""

    film: str
    takes: Path
    notes: str


@dataclass(frozen=True)
class WriteScenesJob:
    """Names a film for its scene file: takes that earlier films have shown (by number), split and credit."""

    film: FindTakesJob
    found: FoundTakes
    seen: tuple[int, ...]
    split: str
    credit: str


@dataclass(frozen=True)
class WrittenScenes:
    """Holds the scene file of a film (None if no shot is left), the number of shots by outcome, and tokens spent."""

    scenes: Path | None
    shots: dict[str, int]
    usage: dict[str, int]


def find_film_takes(job: FindTakesJob) -> FoundTakes:
    """Finds the takes of a video, in one pass over it."""
    config, film = job.config, hash_file(job.path)
    given = _read_cuts(job)
    settings = dataclasses.asdict(config.footage)
    rules = {
        k: v for k, v in settings.items() if not k.startswith(("scene_", "caption", "held", "dup"))
    }
    key = hash_of(VERSION, film, rules, config.prepare.fps, given)
    path = job.out / "work" / film[:16] / f"takes-{key}.safetensors"
    clock_file = path.with_name(f"clock-{key}.json")
    notes = _read_result(clock_file, "clock")
    if notes is None or not _is_whole(path):
        choose_size(job.path, config)  # raises its error before the work
        shape = read_shape(job.path)
        fps = config.prepare.fps
        track, clock = track_video(job.path, config.footage, fps=fps)
        if given is not None and given.shots[-1][1] > len(track.light):
            raise InputError(
                f"{beside(job.path, CUTS_SUFFIX)}: the last shot ends at frame {given.shots[-1][1]},"
                f" but the video has {len(track.light)} at {fps:g} fps"
            )
        takes = find_takes(
            track,
            config.footage,
            size=(shape.height, shape.width),
            given=None if given is None else given.shots,
        )
        takes.save(path)
        notes = {"clock": clock}
        _write_json(clock_file, notes)
    return FoundTakes(film[:16], path, notes["clock"])


def write_scene_file(job: WriteScenesJob) -> WrittenScenes:
    """Groups the takes of a film into scenes, captions them and writes its scene file.

    Raises:
        InputError: a user's list or captions cannot be read.
    """
    # The scene file names the path of the film, and the folder of videos may be moved.
    key = hash_of(
        VERSION, job.film.name, str(job.film.path.resolve()), job.found.takes.name, job.seen, job.split, job.credit,
        dataclasses.asdict(job.film.config.footage), _caption_source(job.film),
    )  # fmt: skip
    folder = job.found.takes.parent
    path, report = folder / f"scenes-{key}.json", folder / f"scenes-{key}.report.json"
    kept = _read_result(report, "shots")
    if kept is None or (kept["shots"].get("kept") and _read_result(path, "scenes") is None):
        scenes, shots, usage = _make_scenes(job, Takes.load(job.found.takes))
        if scenes:
            _write_json(path, _scene_file(job, scenes))
        if not any(reason.startswith((NO_ANSWER, REFUSED)) for reason in shots):
            _write_json(report, {"shots": dict(shots), "usage": vars(usage)})
        kept = {"shots": dict(shots), "usage": vars(usage)}
    else:
        kept |= {"usage": vars(Usage())}
    return WrittenScenes(path if path.exists() else None, kept["shots"], kept["usage"])


def _make_scenes(
    job: WriteScenesJob, takes: Takes
) -> tuple[list[dict[str, Any]], Counter[str], Usage]:
    """Returns the scenes as a scene file has them, the number of shots by outcome, and the tokens spent."""
    reasons = takes.reason.copy()
    reasons[list(job.seen)] = REASONS.index("duplicate")
    kept = np.flatnonzero(reasons == 0).tolist()
    shots = Counter({REASONS[r]: int(n) for r, n in enumerate(np.bincount(reasons)) if r and n})
    groups = _group(job, takes, kept)
    parts = {take: takes.parts[takes.parts[:, 0] == take, 1:].tolist() for take in kept}
    frames = [[tuple(part) for take in group for part in parts[take]] for group in groups]
    cuts = [[n == 0 for take in group for n in range(len(parts[take]))] for group in groups]
    captions, usage, unused = _caption(job.film, frames)
    scenes = []
    for number, (ranges, tags, caption) in enumerate(zip(frames, cuts, captions, strict=True)):
        if isinstance(caption, str):
            shots[caption] += len(ranges)
            continue
        scene = _write_scene(job, number, ranges, tags, caption, shots)
        if scene["shots"]:
            scenes.append(scene)
    shots["divided at events"], shots["divided for length"] = takes.divided.tolist()
    shots["caption lines unused"] = unused
    return scenes, shots, usage


def _group(job: WriteScenesJob, takes: Takes, kept: Sequence[int]) -> list[list[int]]:
    given = _read_cuts(job.film)
    if given is None or given.scenes is None:
        return group_takes(takes, kept, job.film.config.footage)
    groups = [[take for take in scene if take in set(kept)] for scene in given.scenes]
    return [group for group in groups if group]


def _write_scene(
    job: WriteScenesJob,
    number: int,
    ranges: Sequence[tuple[int, int]],
    tags: Sequence[bool],
    caption: Caption,
    shots: Counter[str],
) -> dict[str, Any]:
    """Returns a scene for a scene file; shots without a usable caption are counted and left out."""
    prompt = caption.prompt
    described = {} if prompt is None else prompt.characters
    written, broken = [], False
    for (start, end), cut, text in zip(ranges, tags, caption.shots, strict=True):
        reason = find_fault(text, described)
        if reason:
            shots[reason] += 1
            broken = True
            continue
        shots["kept"] += 1
        # If the beginning of a take was left out, the rest does not continue the shot before it.
        leaps = broken and bool(written)
        written.append({"frames": [start, end], "cut": cut or leaps, "prompt": text})
        broken = False
    return {
        "id": f"{job.film.name}/{number + 1:03d}",
        "split": job.split,
        "characters": described,
        "environment": "" if prompt is None else prompt.environment,
        "story": "" if prompt is None else prompt.story,
        "shots": written,
    }


def _caption(
    film: FindTakesJob, scenes: Sequence[Sequence[tuple[int, int]]]
) -> tuple[list[Caption | str], Usage, int]:
    """Returns for each scene a caption, or the reason why it has none; the tokens spent; and the number of a user's
    lines that no caption has."""
    if film.config.footage.captions == "file":
        path, fps = find_captions(film.path), film.config.prepare.fps
        lines = [] if path is None else read_lines(path)
        taken = [caption_from_lines(lines, scene, fps=fps) for scene in scenes]
        return taken, Usage(), count_unused(lines, taken)
    config = film.config
    chat = Chat(endpoint_from_environment(), film.out / "work" / "chat", config.chat)
    limits, count = load_limits(config), config.footage.caption_frames
    pictures = iter_pictures(film.path, scenes, fps=config.prepare.fps, count=count)
    captions: list[Caption | str] = []
    for scene, shown in zip(scenes, pictures, strict=True):
        check = partial(check_answer, shots=len(scene), check_length=limits.check_caption)
        fewer = lambda limit, shown=shown: ask_about(shown, limit=limit)
        try:
            captions.append(chat.ask(ask_about(shown), check, show_fewer=fewer))
        except RefusedAnswer as error:
            captions.append(f"{REFUSED}: {error}")
        except ChatError as error:
            captions.append(f"{NO_ANSWER}: {error}")
    return captions, chat.usage, 0


def _scene_file(job: WriteScenesJob, scenes: list[dict[str, Any]]) -> dict[str, Any]:
    film = {
        "file": str(job.film.path.resolve()),
        "title": job.film.name,
        "credit": job.credit or UNKNOWN,
        "licence": UNKNOWN,
        "fps": job.film.config.prepare.fps,
    }
    return {"format": SCENE_FORMAT, "film": film, "cast": {}, "scenes": scenes}


def _read_cuts(film: FindTakesJob) -> CutList | None:
    path = beside(film.path, CUTS_SUFFIX)
    if path is None:
        return None
    return read_cut_list(path, fps=film.config.prepare.fps, own=read_own_rate(film.path))


def _caption_source(film: FindTakesJob) -> str | list[object]:
    """Returns what captions depend on: the file beside the video, or the endpoint's model and the longest texts."""
    if film.config.footage.captions == "chat":
        limits = load_limits(film.config)
        return [endpoint_from_environment().model, limits.shot, limits.scene]
    path = find_captions(film.path)
    return "" if path is None else hash_file(path)


def _is_whole(takes: Path) -> bool:
    try:
        Takes.load(takes)
    except InputError:
        return False
    return True


def _read_result(path: Path, member: str) -> dict[str, Any] | None:
    """Returns what an earlier run wrote, with this member; None where it is missing or damaged, so that it is made
    again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and member in found else None


def _write_json(path: Path, value: object) -> None:
    with replace_atomically(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1), encoding="utf-8")
