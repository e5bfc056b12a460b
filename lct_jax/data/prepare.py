"""Footage to training records, in stages that resume.

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/film_tiny.py --out=DIR     one annotated film
    python -m lct_jax.data.prepare --videos=DIR --config=configs/lct_3b.py --out=DIR         any folder of videos
    python -m lct_jax.data.prepare --pixels=SET --config=configs/lct_3b.py --out=DIR         a set of raw pixels

An annotated film or a folder enters, a prepared set (`lct_jax.data.sets.records`) leaves, and for a folder a report with a
row a file. A video becomes takes, takes and captions become a scene file (`describe.py`), and from there on both ways
are one: a codec, a shard a film (`encode.py`), the card last. Killed at any point, the same command finishes what is
missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from lct_jax.cli import define_config, run
from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.codecs.registry import import_codec
from lct_jax.config import Config, freeze
from lct_jax.data.encode import EncodeJob, encode_film, fitting_length, load_encoder, name_shard
from lct_jax.data.footage.report import STAGES, Report, describe_videos
from lct_jax.data.runner import Runner, run_local, run_ray
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import CODEC_FILE, SetInfo, finish_set
from lct_jax.data.sets.set_info import CARD_FILE, PIXELS, read_card
from lct_jax.data.sets.shards import read_about
from lct_jax.data.sources import Source, hash_of, open_source
from lct_jax.errors import InputError, make_folder
from lct_jax.media.files import replace_atomically
from lct_jax.tensors import hash_file

SOURCE_FILE = "source.json"


def prepare(
    sources: Sequence[tuple[str, Path]], out: Path, config: Config, *, runner: Runner
) -> list[InputError | None] | None:
    """Makes a prepared set; returns None when `out` already holds this very one.

    Args:
        sources: name of each film in the set, and its scene file or its shard in a set of pixels.

    Returns:
        What was wrong with each film; those are not in the set.

    Raises:
        InputError: a bad scene file, a missing film, weights that do not fit, or no film is left.
    """
    opened = [open_source(path, config) for _, path in sources]
    codec, key = _choose_codec(opened, out, config)
    jobs = [EncodeJob(path, name, out, config, codec, key) for name, path in sources]
    wanted = "\n".join(name_shard(*pair) for pair in zip(jobs, opened, strict=True))
    card_file, source_file = out / CARD_FILE, out / SOURCE_FILE
    if card_file.exists() and source_file.exists() and source_file.read_text() == wanted:
        return None
    make_folder(out)
    card_file.unlink(missing_ok=True)  # from here on the folder is unfinished
    source_file.unlink(missing_ok=True)
    maker = _make_maker(opened, codec, out, config)
    results = list(runner(encode_film, jobs))
    shards = [result for result in results if isinstance(result, str)]
    if not shards:
        raise next(result for result in results if isinstance(result, InputError))
    if len(shards) == len(jobs):  # or films that were refused would not be tried again
        with replace_atomically(source_file) as unfinished:
            unfinished.write_text(wanted)
    finish_set(out, shards, maker=maker)
    for stale in (out / "shards").iterdir():
        if stale.name not in shards:
            shutil.rmtree(stale)
    return [result if isinstance(result, InputError) else None for result in results]


def prepare_scene_file(scenes: Path, out: Path, config: Config) -> bool:
    """Makes a set of one annotated film; returns False when `out` already holds this very one."""
    name = Path(load_scene_file(scenes).film.file).name
    return (
        prepare([(name, scenes)], out, config, runner=partial(run_local, processes=1)) is not None
    )


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
    """Makes a set of a folder of videos, or as much of it as `until` says; the report is in `report.json` too."""
    make_folder(out)
    report = describe_videos(videos, out, config, runner=runner, until=until, credit=credit)
    ready = report.ready
    if until == "encode" and ready:
        scenes = [(row.name, row.scenes) for row in ready]
        try:
            problems = prepare(scenes, out, config, runner=runner)
        except InputError:
            report.save(out)
            raise
        for row, problem in zip(ready, problems or [None] * len(ready), strict=True):
            row.finish(problem)
    report.save(out)
    return report


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
    sizes = [prepare.height, prepare.width, prepare.fps, config.model.patch, config.model.channels]
    key = hash_of("fit", sizes, [source.content for source in opened])
    return out / "work" / f"codec-{key}.safetensors", hash_of(key, encoder)


def hash_weights(path: str) -> str:
    """What a file of weights, or a folder of them, holds: a hash of its files; "" for none."""
    if not path:
        return ""
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return hash_of([(file.name, hash_file(file)) for file in files if not file.is_dir()])


def _make_maker(opened: Sequence[Source], codec: Path | None, out: Path, config: Config) -> SetInfo:
    """With what the set is made; the codec is fitted where it has to be, and put beside the records."""
    prepare = config.prepare
    area = {"height": prepare.height, "width": prepare.width, "fps": prepare.fps}
    if codec is None:
        return SetInfo(PIXELS, "none", 3, 0, **area, empty=np.zeros((0, 0), np.float32))
    if not codec.exists() and not prepare.codec_from:
        _fit_codec(opened, codec, config)
    made = import_codec(prepare.codec, codec, channels=config.model.channels)
    made.save(out / CODEC_FILE)
    encoder = load_encoder(prepare.encoder, config.model.text_width, prepare.encoder_from)
    empty = encoder.encode([""])[0]
    return SetInfo(
        made.identity, encoder.identity, made.channels, encoder.width, **area, empty=empty
    )


def _fit_codec(opened: Sequence[Source], path: Path, config: Config) -> None:
    """A fit on training scenes alone: held-out footage must stay unseen."""
    shots = (
        shot.frames
        for source in opened
        for scene in source.scenes()
        for shot in scene.shots
        if scene.split == "train"
    )
    videos = (frames[: fitting_length(len(frames), longest=len(frames))] for frames in shots)
    codec = fit_patch_codec(videos, channels=config.model.channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.save(path)


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
        print(f"{out}: {'prepared' if made else 'already prepared, nothing to do'}")
        return
    report = prepare_videos(
        Path(VIDEOS.value), out, config, runner=runner, until=UNTIL.value, credit=CREDIT.value
    )
    print(report.show())


if __name__ == "__main__":
    # Not at the top: a program that imports `prepare` has flags of its own.
    SCENES = flags.DEFINE_string("scenes", None, "Scene file (JSON) of a film.")
    VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos.")
    PIXELS_SET = flags.DEFINE_string("pixels", None, "Set of raw pixels, to be encoded.")
    OUT = flags.DEFINE_string("out", None, "Folder of the prepared set.", required=True)
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
