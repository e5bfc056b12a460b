"""Prepares footage as training records, in stages that resume.

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/film_tiny.py --out=DIR     one annotated film
    python -m lct_jax.data.prepare --videos=DIR --config=configs/lct_3b.py --out=DIR         any folder of videos
    python -m lct_jax.data.prepare --pixels=SET --config=configs/lct_3b.py --out=DIR         a set of raw pixels
    python -m lct_jax.data.prepare --scenes=FILE --panels --config=CONFIG --out=DIR          pictures of three panels

An annotated film or a folder becomes a prepared set (`lct_jax.data.sets.records`), and for a folder there is a report
with a row for each file. A video becomes takes, and takes with captions become a scene file (`footage/stages.py`). From
there on both ways are the same: the codec is chosen (`fit.py`), every film becomes a shard (`encode.py`), and the card
is written last. If the command is killed at any point, running it again finishes what is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from lct_jax.cli import define_config, define_path, run
from lct_jax.codecs.registry import load_codec
from lct_jax.config import Config, freeze
from lct_jax.data.encode import EncodeJob, encode_film, name_shard
from lct_jax.data.fit import choose_codec, make_set_info
from lct_jax.data.footage import STAGES
from lct_jax.data.footage.text_limits import find_too_long, open_fitting
from lct_jax.data.panels import keep_panels
from lct_jax.data.runner import Runner, run_here, run_local, run_ray
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import CODEC_FILE, PreparedSet, SetInfo, finish_set
from lct_jax.data.sets.set_info import CARD_FILE, PIXELS, read_card
from lct_jax.data.sets.shard_check import find_damage
from lct_jax.data.sets.shards import read_about
from lct_jax.data.sources import Source
from lct_jax.errors import InputError, make_folder
from lct_jax.files import replace_atomically
from lct_jax.folder_lock import lock_folder

if TYPE_CHECKING:
    from lct_jax.data.footage.report import Report

SOURCE_FILE = "source.json"
PREPARING = "preparing into this folder, wait until it is done"


def prepare(
    sources: Sequence[tuple[str, Path]], out: Path, config: Config, *, runner: Runner
) -> list[InputError | None] | None:
    """Makes a prepared set; returns None if `out` already holds the same set and all of it is whole.

    Args:
        sources: the name of each film in the set, and its scene file or its shard in a set of pixels.

    Returns:
        The problem of each film, or None; films with a problem are not in the set.

    Raises:
        InputError: a bad scene file, a missing film, weights that do not fit, no film is left, or another process is
            preparing into `out`.
    """
    make_folder(out)
    with lock_folder(out, doing=PREPARING):
        problems = _prepare(sources, out, config, runner=runner)
    if problems and None not in problems:
        raise problems[0]
    return problems


def _prepare(
    sources: Sequence[tuple[str, Path]],
    out: Path,
    config: Config,
    *,
    runner: Runner,
    refused: Sequence[str] = (),
) -> list[InputError | None] | None:
    """Does what `prepare` does for a caller that holds the lock of `out`.

    If no film is left, it raises nothing and makes no set.

    Args:
        refused: the names of films that were refused before, whose older shards are kept.
    """
    opened = list(run_here(partial(open_fitting, config=config), [path for _, path in sources]))
    whole = [isinstance(source, Source) for source in opened]
    if not any(whole):
        return opened
    good = [source for source in opened if isinstance(source, Source)]
    codec, key = choose_codec(good, out, config)
    jobs = [
        EncodeJob(path, name, out, config, codec, key)
        for (name, path), usable in zip(sources, whole, strict=True)
        if usable
    ]
    names = [name_shard(*pair) for pair in zip(jobs, good, strict=True)]
    if all(whole) and _is_prepared(out, names, runner=runner):
        return None
    # From here on the folder is unfinished.
    (out / CARD_FILE).unlink(missing_ok=True)
    (out / SOURCE_FILE).unlink(missing_ok=True)
    info = make_set_info(jobs, good, codec, out, config, runner=runner)
    encoded = iter(list(runner(encode_film, jobs)))
    results = [
        next(encoded) if usable else found for usable, found in zip(whole, opened, strict=True)
    ]
    shards = [result for result in results if isinstance(result, str)]
    if shards:
        failed = [name for (name, _), x in zip(sources, results, strict=True) if x not in shards]
        _finish(out, shards, info, complete=not failed, keep={*refused, *failed})
    return [result if isinstance(result, InputError) else None for result in results]


def _is_prepared(out: Path, names: Sequence[str], *, runner: Runner) -> bool:
    """Returns whether `out` holds a finished set of just these shards, without a damaged file or record."""
    source_file = out / SOURCE_FILE
    if not source_file.exists() or source_file.read_bytes() != "\n".join(names).encode():
        return False
    try:
        prepared = PreparedSet(out)
        if prepared.card.codec != PIXELS:
            found = load_codec(out / CODEC_FILE, channels=prepared.card.channels).identity
            if found != prepared.card.codec:
                return False
    except InputError:
        return False
    folders = [out / "shards" / name for name in names]
    return all(damage is None for damage in runner(find_damage, folders))


def _finish(
    out: Path, shards: Sequence[str], info: SetInfo, *, complete: bool, keep: Collection[str]
) -> None:
    """Completes a set of shards, and removes older ones except those of films that are in `keep`.

    A film that cannot be read now may be readable later, so its shard is kept.
    """
    finish_set(out, shards, info=info)
    # Without this condition, films that were refused would not be tried again.
    if complete:
        with replace_atomically(out / SOURCE_FILE) as unfinished:
            unfinished.write_text("\n".join(shards))
    for stale in (out / "shards").iterdir():
        if stale.name not in shards and not (keep and _film_of(stale) in keep):
            shutil.rmtree(stale)


def _film_of(shard: Path) -> str | None:
    """Returns the name of the film in a shard, None if the shard is damaged."""
    try:
        return read_about(shard).film
    except InputError:
        return None


def prepare_scene_file(scenes: Path, out: Path, config: Config) -> bool:
    """Makes a set of one annotated film; returns False if `out` already holds the same set."""
    name = Path(load_scene_file(scenes).film.file).name
    return prepare([(name, scenes)], out, config, runner=run_here) is not None


def prepare_panels(scenes: Path, out: Path, config: Config) -> bool:
    """Makes a set of pictures of three panels of one annotated film (`lct_jax/data/panels.py`), whose pixels it keeps
    under `pixels/`; returns False if `out` already holds the same set."""
    pixels = out / "pixels"
    make_folder(pixels)
    with lock_folder(pixels, doing=PREPARING):
        keep_panels(scenes, pixels, config)
    return prepare_pixels(pixels, out, config, runner=run_here)


def prepare_pixels(pixels: Path, out: Path, config: Config, *, runner: Runner) -> bool:
    """Makes a set of latents from one of pixels; returns False if `out` already holds the same set."""
    card = read_card(pixels)
    if card.codec != PIXELS:
        raise InputError(f"{pixels}: found a set of {card.codec}, expected one of {PIXELS}")
    folders = [pixels / "shards" / shard for shard in card.shards]
    sources = [(read_about(folder).film, folder) for folder in folders]
    problems = prepare(sources, out, config, runner=runner)
    for problem in problems or []:
        if problem is not None:
            raise problem
    return problems is not None


def prepare_videos(
    videos: Path,
    out: Path,
    config: Config,
    *,
    runner: Runner,
    until: str = "encode",
    credit: str = "",
) -> Report:
    """Makes a set of a folder of videos, up to the stage `until`; the report is also in `report.json`.

    Raises:
        InputError: there is no such folder, weights do not fit, or another process is preparing into `out`. The
            problem of a single video is in its row of the report.
    """
    make_folder(out)
    with lock_folder(out, doing=PREPARING):
        # The detectors of cuts, and OpenCV, are loaded for a folder of videos alone.
        from lct_jax.data.footage.report import describe_videos

        report = describe_videos(videos, out, config, runner=runner, until=until, credit=credit)
        try:
            if until == "encode" and report.ready:
                scenes = [(row.name, row.scenes) for row in report.ready]
                refused = [row.name for row in report.rows if row.outcome == "set aside"]
                problems = _prepare(scenes, out, config, runner=runner, refused=refused)
                for row, problem in zip(
                    report.ready, problems or [None] * len(scenes), strict=True
                ):
                    row.finish(problem, find_too_long(row.scenes, config))
        except InputError as error:
            for row in report.ready:
                row.set_aside(error)
            raise
        finally:
            report.save(out)
    return report


def _print_too_long(source: Path, config: Config) -> None:
    """Prints a line for each text of a scene file, or of a set of pixels, that was too long."""
    card = None if source.is_file() else read_card(source)
    paths = [source] if card is None else [source / "shards" / shard for shard in card.shards]
    for path in paths:
        for item in find_too_long(path, config):
            print(f"{path}: {item}")


def main(argv: Sequence[str]) -> None:
    del argv
    out, config = Path(OUT.value), freeze(CONFIG.value)
    if [SCENES.value, VIDEOS.value, PIXELS_SET.value].count(None) != 2:
        raise InputError("--scenes, --videos, --pixels: expected one of them")
    if PANELS.value and SCENES.value is None:
        raise InputError("--panels: found without --scenes, expected the scene file of a film")
    runner = run_ray if RUNNER.value == "ray" else partial(run_local, processes=PROCESSES.value)
    if VIDEOS.value is None:
        source = Path(SCENES.value or PIXELS_SET.value)
        if PANELS.value:
            made, source = prepare_panels(source, out, config), out / "pixels"
        elif SCENES.value is not None:
            made = prepare_scene_file(source, out, config)
        else:
            made = prepare_pixels(source, out, config, runner=runner)
        _print_too_long(source, config)
        print(f"{out}: {'prepared' if made else 'already prepared, nothing to do'}")
        return
    report = prepare_videos(
        Path(VIDEOS.value), out, config, runner=runner, until=UNTIL.value, credit=CREDIT.value
    )
    print(report.show())
    if not report.count(UNTIL.value):
        raise InputError(f"{VIDEOS.value}: no video is left, see report.json in {out} for why")


if __name__ == "__main__":
    # The flags are not defined at the top, because a program that imports `prepare` has flags of its own.
    SCENES = define_path("scenes", "Scene file (JSON) of a film.")
    VIDEOS = define_path("videos", "Folder of videos.")
    PIXELS_SET = define_path("pixels", "Set of raw pixels, to be encoded.")
    PANELS = flags.DEFINE_bool("panels", False, "Pictures of three panels in place of scenes.")
    OUT = define_path("out", "Folder of the prepared set.", required=True)
    CREDIT = flags.DEFINE_string("credit", "", "Credit line of the videos, kept with the set.")
    UNTIL = flags.DEFINE_enum("until", "encode", STAGES, "Last stage of --videos to be run.")
    RUNNER = flags.DEFINE_enum("runner", "local", ("local", "ray"), "Where films are prepared.")
    PROCESSES = flags.DEFINE_integer(
        "processes",
        os.cpu_count(),
        "Films prepared at the same time by the local runner.",
        lower_bound=1,
    )
    CONFIG = define_config()
    run(main)
