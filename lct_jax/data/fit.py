"""Fits the patch codec of a set that names no codec file, on the footage that the set is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.codecs.registry import import_codec
from lct_jax.config import Config
from lct_jax.data.encode import EncodeJob, fitting_length
from lct_jax.data.runner import Runner
from lct_jax.data.sources import Source, open_source
from lct_jax.errors import InputError


def is_codec(path: Path, config: Config) -> bool:
    """Returns whether `path` is a codec file that is whole."""
    try:
        import_codec(config.prepare.codec, path, channels=config.backbone.channels)
    except InputError:
        return False
    return True


def fit_codec(
    jobs: Sequence[EncodeJob],
    opened: Sequence[Source],
    path: Path,
    config: Config,
    *,
    runner: Runner,
) -> None:
    """Fits the codec on training scenes alone, because held-out footage must stay unseen.

    The runner first reads every film to its end: a film that cannot be read, or whose reading kills the process, must
    not stop the fit. Such a film is refused when it is encoded.
    """
    read = list(runner(read_film, jobs))
    readable = [source for source, problem in zip(opened, read, strict=True) if problem is None]
    if not readable:
        raise next(problem for problem in read if problem is not None)
    shots = (
        shot.frames
        for source in readable
        for scene in source.scenes()
        for shot in scene.shots
        if scene.split == "train"
    )
    videos = (frames[: fitting_length(len(frames), longest=len(frames))] for frames in shots)
    codec = fit_patch_codec(videos, channels=config.backbone.channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.save(path)


def read_film(job: EncodeJob) -> None:
    """Reads every frame that the records of a film are made of; raises the errors of `encode_film`."""
    source = open_source(job.source, job.config)
    source.size()
    for scene in source.scenes():
        for _ in scene.shots:
            pass
