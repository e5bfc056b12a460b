"""Footage to training records, in stages that resume.

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/film_tiny.py --out=DIR     one annotated film
    python -m lct_jax.data.prepare --videos=DIR --config=configs/lct_3b.py --out=DIR         any folder of videos
    python -m lct_jax.data.prepare --pixels=SET --config=configs/lct_3b.py --out=DIR         a set of raw pixels

An annotated film or a folder becomes a prepared set (`lct_jax.data.sets.records`), and for a folder there is a report
with a row a file. A video becomes takes, takes and captions become a scene file (`footage/stages.py`), and from there
on both ways are one: a codec, a shard a film (`encode.py`), the card last. Killed at any point, the same command
finishes what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from lct_jax.cli import define_config, define_path, run
from lct_jax.codecs.registry import import_codec, load_codec
from lct_jax.config import Config, freeze
from lct_jax.data.encode import (
    EncodeJob,
    encode_film,
    load_encoder,
    name_shard,
)
from lct_jax.data.fit import fit_codec, is_codec
from lct_jax.data.footage.report import STAGES, Report, describe_videos
from lct_jax.data.footage.text_limits import find_too_long, open_fitting
from lct_jax.data.runner import Runner, run_here, run_local, run_ray
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import CODEC_FILE, PreparedSet, SetInfo, finish_set
from lct_jax.data.sets.set_info import CARD_FILE, PIXELS, read_card
from lct_jax.data.sets.shard_check import find_damage
from lct_jax.data.sets.shards import read_about
from lct_jax.data.sources import Source, hash_of
from lct_jax.errors import InputError, make_folder
from lct_jax.files import replace_atomically
from lct_jax.folder_lock import lock_folder
from lct_jax.tensors import hash_file

SOURCE_FILE = "source.json"
PREPARING = "preparing into this folder, wait until it is done"


def prepare(
    sources: Sequence[tuple[str, Path]], out: Path, config: Config, *, runner: Runner
) -> list[InputError | None] | None:
    """Makes a prepared set; returns None when `out` already holds this very one, and all of it is whole.

    Args:
        sources: name of each film in the set, and its scene file or its shard in a set of pixels.

    Returns:
        What was wrong with each film; those are not in the set.

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
    """As `prepare`, by whoever holds the lock of `out`; where no film is left, nothing is raised and no set is made.

    Args:
        refused: names of films that were refused before: their older shards are kept.
    """
    opened = list(run_here(partial(open_fitting, config=config), [path for _, path in sources]))
    whole = [isinstance(source, Source) for source in opened]
    if not any(whole):
        return opened
    good = [source for source in opened if isinstance(source, Source)]
    codec, key = _choose_codec(good, out, config)
    jobs = [
        EncodeJob(path, name, out, config, codec, key)
        for (name, path), usable in zip(sources, whole, strict=True)
        if usable
    ]
    names = [name_shard(*pair) for pair in zip(jobs, good, strict=True)]
    if all(whole) and _is_prepared(out, names, runner=runner):
        return None
    (out / CARD_FILE).unlink(missing_ok=True)  # from here on the folder is unfinished
    (out / SOURCE_FILE).unlink(missing_ok=True)
    maker = _make_maker(jobs, good, codec, out, config, runner=runner)
    encoded = iter(list(runner(encode_film, jobs)))
    results = [
        next(encoded) if usable else found for usable, found in zip(whole, opened, strict=True)
    ]
    shards = [result for result in results if isinstance(result, str)]
    if shards:
        failed = [name for (name, _), x in zip(sources, results, strict=True) if x not in shards]
        _finish(out, shards, maker, complete=not failed, keep={*refused, *failed})
    return [result if isinstance(result, InputError) else None for result in results]


def _is_prepared(out: Path, names: Sequence[str], *, runner: Runner) -> bool:
    """Whether `out` holds a finished set of just these shards, and no file or record of it is damaged."""
    source_file = out / SOURCE_FILE
    if not source_file.exists() or source_file.read_text() != "\n".join(names):
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
    out: Path, shards: Sequence[str], maker: SetInfo, *, complete: bool, keep: Collection[str]
) -> None:
    """Writes what makes a set of shards, and removes older ones, but for those of films that are in `keep`.

    A film that could not be read today may be there tomorrow, and its shard with it.
    """
    finish_set(out, shards, maker=maker)
    if complete:  # or films that were refused would not be tried again
        with replace_atomically(out / SOURCE_FILE) as unfinished:
            unfinished.write_text("\n".join(shards))
    for stale in (out / "shards").iterdir():
        if stale.name not in shards and not (keep and _film_of(stale) in keep):
            shutil.rmtree(stale)


def _film_of(shard: Path) -> str | None:
    """Returns the name of the film in a shard, None where the shard is damaged."""
    try:
        return read_about(shard).film
    except (OSError, ValueError, TypeError):
        return None


def prepare_scene_file(scenes: Path, out: Path, config: Config) -> bool:
    """Makes a set of one annotated film; returns False when `out` already holds this very one."""
    name = Path(load_scene_file(scenes).film.file).name
    return prepare([(name, scenes)], out, config, runner=run_here) is not None


def prepare_pixels(pixels: Path, out: Path, config: Config, *, runner: Runner) -> bool:
    """Makes a set of latents from one of pixels; returns False when `out` already holds this very one."""
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
    """Makes a set of a folder of videos, or as much of it as `until` says; the report is in `report.json` too.

    Raises:
        InputError: there is no such folder, weights do not fit, or another process is preparing into `out`. What is
            wrong with a video is in its row of the report.
    """
    make_folder(out)
    with lock_folder(out, doing=PREPARING):
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


def _choose_codec(opened: Sequence[Source], out: Path, config: Config) -> tuple[Path | None, str]:
    """The weights of the codec, which may have to be fitted yet, and a hash of what latents and texts depend on."""
    prepare = config.prepare
    if prepare.records == PIXELS:
        return None, PIXELS
    encoder = hash_weights(prepare.encoder_from)
    if prepare.codec_from:
        weights = hash_weights(prepare.codec_from)
        return Path(prepare.codec_from), hash_of(weights, encoder)
    if prepare.codec != "patch":
        raise InputError(f"prepare.codec_from: empty, expected the weights of {prepare.codec}")
    sizes = [
        prepare.height,
        prepare.width,
        prepare.fps,
        config.backbone.patch,
        config.backbone.channels,
    ]
    key = hash_of("fit", sizes, [source.content for source in opened])
    return out / "work" / f"codec-{key}.safetensors", hash_of(key, encoder)


def hash_weights(path: str) -> str:
    """What a file of weights, or a folder of them, holds: a hash of its files; "" for none."""
    if not path:
        return ""
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return hash_of([(file.name, hash_file(file)) for file in files if not file.is_dir()])


def _make_maker(
    jobs: Sequence[EncodeJob],
    opened: Sequence[Source],
    codec: Path | None,
    out: Path,
    config: Config,
    *,
    runner: Runner,
) -> SetInfo:
    """With what the set is made; the codec is fitted where it has to be, and put beside the records."""
    prepare = config.prepare
    area = {"height": prepare.height, "width": prepare.width, "fps": prepare.fps}
    if codec is None:
        return SetInfo(PIXELS, "none", 3, 0, **area, empty=np.zeros((0, 0), np.float32))
    if not prepare.codec_from and not is_codec(codec, config):
        fit_codec(jobs, opened, codec, config, runner=runner)
    made = import_codec(prepare.codec, codec, channels=config.backbone.channels)
    made.save(out / CODEC_FILE)
    encoder = load_encoder(prepare.encoder, config.backbone.text_width, prepare.encoder_from)
    empty = encoder.encode([""])[0]
    return SetInfo(
        made.identity, encoder.identity, made.channels, encoder.width, **area, empty=empty
    )


def main(argv: Sequence[str]) -> None:
    del argv
    out, config = Path(OUT.value), freeze(CONFIG.value)
    if [SCENES.value, VIDEOS.value, PIXELS_SET.value].count(None) != 2:
        raise InputError("--scenes, --videos, --pixels: expected one of them")
    runner = run_ray if RUNNER.value == "ray" else partial(run_local, processes=PROCESSES.value)
    if VIDEOS.value is None:
        if SCENES.value is not None:
            made = prepare_scene_file(Path(SCENES.value), out, config)
        else:
            made = prepare_pixels(Path(PIXELS_SET.value), out, config, runner=runner)
        source = Path(SCENES.value or PIXELS_SET.value)
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
    # Not at the top: a program that imports `prepare` has flags of its own.
    SCENES = define_path("scenes", "Scene file (JSON) of a film.")
    VIDEOS = define_path("videos", "Folder of videos.")
    PIXELS_SET = define_path("pixels", "Set of raw pixels, to be encoded.")
    OUT = define_path("out", "Folder of the prepared set.", required=True)
    CREDIT = flags.DEFINE_string("credit", "", "Whom the videos are owed to, kept with the set.")
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
