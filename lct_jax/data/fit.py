"""Chooses the codec and the encoder of a set, and fits the patch codec where the config names no weights.

The patch codec is fitted to the footage that the set is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.codecs.registry import import_codec
from lct_jax.config import Config
from lct_jax.data.encode import EncodeJob, fitting_length, load_encoder
from lct_jax.data.runner import Runner
from lct_jax.data.sets.records import CODEC_FILE, SetInfo
from lct_jax.data.sets.set_info import PIXELS
from lct_jax.data.sources import Source, open_source
from lct_jax.errors import InputError
from lct_jax.files import hash_file, hash_of


def choose_codec(opened: Sequence[Source], out: Path, config: Config) -> tuple[Path | None, str]:
    """Returns the codec's weights, which may have to be fitted, and a hash of what latents and texts depend on.

    Raises:
        InputError: the codec needs weights, and the config names none.
    """
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
    """Returns a hash of a file of weights, or of the files in a folder; "" for none."""
    if not path:
        return ""
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return hash_of([(file.name, hash_file(file)) for file in files if not file.is_dir()])


def make_set_info(
    jobs: Sequence[EncodeJob],
    opened: Sequence[Source],
    codec: Path | None,
    out: Path,
    config: Config,
    *,
    runner: Runner,
) -> SetInfo:
    """Returns with what the set is made; fits the codec if necessary, and copies it beside the records."""
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
