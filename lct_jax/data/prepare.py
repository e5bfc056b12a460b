"""Footage to training records, in stages that resume.

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/film_tiny.py --out=DIR     one annotated film
    python -m lct_jax.data.prepare --videos=DIR --config=configs/lct_3b.py --out=DIR         any folder of videos

An annotated film or a folder enters, a prepared set (`lct_jax.data.records`) leaves, and for a folder a report with a
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

from absl import flags, logging

from lct_jax.cli import define_config, run
from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.codecs.registry import load_codec
from lct_jax.codecs.safetensors_io import hash_file
from lct_jax.config import Config, freeze
from lct_jax.data.card import CARD_FILE
from lct_jax.data.encode import (
    EncodeJob,
    choose_size,
    describe_film,
    encode_film,
    fitting_length,
    hash_of,
    iter_footage,
    load_encoder,
    name_shard,
)
from lct_jax.data.records import CODEC_FILE, Maker, finish_set
from lct_jax.data.runner import Runner, run_local, run_ray
from lct_jax.data.scene_file import SceneFile, load_scene_file
from lct_jax.data.videos import STAGES, Report, describe_videos
from lct_jax.errors import InputError
from lct_jax.media import replace_atomically

SOURCE_FILE = "source.json"


def prepare(
    scenes: Sequence[tuple[str, Path]], out: Path, config: Config, *, runner: Runner
) -> list[InputError | None] | None:
    """Makes a prepared set of films with scene files; returns None when `out` already holds this very one.

    Args:
        scenes: name of each film in the set and its scene file.

    Returns:
        What was wrong with each film; those are not in the set.

    Raises:
        InputError: a bad scene file, a missing film, weights that do not fit, or no film is left.
    """
    annotated = [load_scene_file(path) for _, path in scenes]
    codec, key = _choose_codec(annotated, out, config)
    jobs = [EncodeJob(path, name, out, config, codec, key) for name, path in scenes]
    source = "\n".join(
        [hash_file(p) for _, p in scenes]
        + [name_shard(j, a) for j, a in zip(jobs, annotated, strict=True)]
    )
    card_file, source_file = out / CARD_FILE, out / SOURCE_FILE
    if card_file.exists() and source_file.exists() and source_file.read_text() == source:
        return None
    _make_folder(out)
    card_file.unlink(missing_ok=True)  # from here on the folder is unfinished
    if not codec.exists():
        _fit_codec(annotated, codec, config)
    made = load_codec(codec, channels=config.model.channels)
    made.save(out / CODEC_FILE)
    results = list(runner(encode_film, jobs))
    shards = [result for result in results if isinstance(result, str)]
    if not shards:
        raise next(result for result in results if isinstance(result, InputError))
    encoder = load_encoder(config.prepare.encoder, config.model.text_width)
    maker = Maker(
        codec=made.identity,
        encoder=encoder.identity,
        channels=made.channels,
        text_width=encoder.width,
        height=config.prepare.height,
        width=config.prepare.width,
        fps=config.prepare.fps,
        empty=encoder.encode([""])[0],
    )
    if len(shards) == len(jobs):
        with replace_atomically(source_file) as unfinished:
            unfinished.write_text(source)
    finish_set(out, shards, maker=maker)
    for stale in (out / "shards").iterdir():
        if stale.name not in shards:
            shutil.rmtree(stale)
    return [result if isinstance(result, InputError) else None for result in results]


def prepare_scene_file(scenes: Path, out: Path, config: Config) -> bool:
    """Makes a set of one annotated film; returns False when `out` already holds this very one."""
    annotated = load_scene_file(scenes)
    name = Path(annotated.film.file).name
    outcome = prepare([(name, scenes)], out, config, runner=partial(run_local, processes=1))
    return outcome is not None


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
    _make_folder(out)
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


def _choose_codec(annotated: Sequence[SceneFile], out: Path, config: Config) -> tuple[Path, str]:
    """The file of the codec's weights, which may have to be fitted yet, and what they depend on."""
    if config.prepare.codec_from:
        path = Path(config.prepare.codec_from)
        return path, hash_file(path)
    prepare = config.prepare
    sizes = [prepare.height, prepare.width, prepare.fps, config.model.patch, config.model.channels]
    key = hash_of("fit", sizes, [describe_film(film) for film in annotated])
    return out / "work" / f"codec-{key}.safetensors", key


def _fit_codec(annotated: Sequence[SceneFile], path: Path, config: Config) -> None:
    """A fit on training scenes alone: held-out footage must stay unseen."""
    shots = (
        footage.frames
        for film in annotated
        for footage in iter_footage(
            film, fps=config.prepare.fps, size=choose_size(film.film.file, config)[0]
        )
        if footage.scene.split == "train"
    )
    videos = (frames[: fitting_length(len(frames), longest=len(frames))] for frames in shots)
    codec = fit_patch_codec(videos, channels=config.model.channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.save(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None


def main(argv: Sequence[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)  # JAX names the backends it does not find
    out, config = Path(OUT.value), freeze(CONFIG.value)
    if (SCENES.value is None) == (VIDEOS.value is None):
        raise InputError("--scenes, --videos: expected one of them")
    if SCENES.value is not None:
        made = prepare_scene_file(Path(SCENES.value), out, config)
        print(f"{out}: {'prepared' if made else 'already prepared, nothing to do'}")
        return
    runner = run_ray if RUNNER.value == "ray" else partial(run_local, processes=PROCESSES.value)
    report = prepare_videos(
        Path(VIDEOS.value), out, config, runner=runner, until=UNTIL.value, credit=CREDIT.value
    )
    print(report.show())


if __name__ == "__main__":
    # Not at the top: a program that imports `prepare` has flags of its own.
    SCENES = flags.DEFINE_string("scenes", None, "Scene file (JSON) of a film.")
    VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos.")
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
