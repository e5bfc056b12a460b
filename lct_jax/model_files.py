"""Opens what a scene is sampled with: weights, codec and text encoder of a run, of exported weights, or of a base.

A base is the folder of a pipeline that others published (docs/bases.md). It is sampled with the settings of its own
files and family, single shots as its publishers do, and scenes although it was not tuned on them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lct_jax.backbones.load import is_published, load_published
from lct_jax.backbones.pipeline import read_pipeline
from lct_jax.backbones.registry import describe
from lct_jax.base import OpenedWeights, open_weights, stack_loras
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import import_codec, load_codec
from lct_jax.config import Config
from lct_jax.data.sets.records import CODEC_FILE
from lct_jax.encoders.protocol import TextEncoder
from lct_jax.encoders.registry import make_encoder
from lct_jax.encoders.text_file import FreeableEncoder, TextFile
from lct_jax.errors import InputError
from lct_jax.files import hash_samples
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import Meta


class ModelFiles(NamedTuple):
    """What sampling needs of a model's files.

    Attributes:
        meta: what the weights are.
        read: makes the parameters, from shapes that have a sharding.
        codec, encoder: those that the weights were made with.
        origin: where the weights come from, for messages.
        identify: returns what tells the weights from others.
    """

    meta: Meta
    read: Callable[[Any], Any]
    codec: VideoCodec
    encoder: TextEncoder
    origin: str
    identify: Callable[[], str]


def open_model(
    checkpoint: str | Path,
    *,
    codec: str | Path | None = None,
    encoder: str | Path | None = None,
    texts: str | Path | None = None,
    weights: str = "ema",
    base: str | Path | None = None,
    loras: Sequence[str] = (),
) -> ModelFiles:
    """Opens a run's folder, weights saved by `lct_jax.export`, or the folder of a published base.

    Arguments and errors are those of `lct_jax.load`.
    """
    origin = Path(checkpoint)
    if is_published(origin):
        files = _open_base(origin, codec=codec, encoder=encoder, texts=texts)
    else:
        files = _open_run(
            origin, codec=codec, encoder=encoder, texts=texts, weights=weights, base=base
        )
    below = OpenedWeights(files.meta, files.read, None, files.identify)
    stacked = stack_loras(below, loras)
    return files._replace(meta=stacked.meta, read=stacked.read, identify=stacked.identify)


def _open_run(
    origin: Path,
    *,
    codec: str | Path | None,
    encoder: str | Path | None,
    texts: str | Path | None,
    weights: str,
    base: str | Path | None,
) -> ModelFiles:
    if origin.is_file() and codec is None:
        raise InputError(
            f"--codec: missing, expected the codec of the run that {origin} comes from"
        )
    opened = open_weights(origin, which=weights, base=base)
    meta = opened.meta
    channels = describe(meta.config.network).channels
    found_codec = load_codec(Path(codec or origin / CODEC_FILE), channels=channels)
    found_encoder = open_encoder(meta.config, encoder=encoder, texts=texts)
    if texts is not None and found_encoder.identity != meta.encoder:
        raise InputError(
            f"{texts}: encoded by {found_encoder.identity}, expected {meta.encoder}, as {origin} was made with"
        )
    meta.check_identities(str(origin), codec=found_codec.identity, encoder=found_encoder.identity)
    return ModelFiles(meta, opened.read, found_codec, found_encoder, str(origin), opened.identify)


def read_model_config(checkpoint: str | Path) -> Config:
    """Returns the config of a run, of exported weights or of a published base; no weights are read."""
    if is_published(checkpoint):
        return read_pipeline(checkpoint)
    return TrainedWeights(checkpoint).meta.config


def open_encoder(
    config: Config, *, encoder: str | Path | None = None, texts: str | Path | None = None
) -> FreeableEncoder | TextFile:
    """Returns the text encoder of a config, from another folder where `encoder` names one, or a file of texts.

    Raises:
        InputError: files are missing or damaged, or the width is not that of the network.
    """
    width, prepare = describe(config.network).text_width, config.prepare
    if texts is not None:
        file = TextFile(texts)
        if file.width != width:
            raise InputError(
                f"{texts}: found tokens of {file.identity}, {file.width} wide, expected {width}"
            )
        return file
    folder = prepare.encoder_from if encoder is None else str(encoder)
    return FreeableEncoder(lambda: make_encoder(prepare.encoder, width=width, folder=folder))


def _open_base(
    folder: Path,
    *,
    codec: str | Path | None,
    encoder: str | Path | None,
    texts: str | Path | None,
) -> ModelFiles:
    config = read_pipeline(folder)
    path = Path(codec or config.prepare.codec_from)
    # A folder or file as it is published, or one that a prepared set or a run has.
    found_codec = import_codec(config.prepare.codec, path, channels=config.backbone.channels)
    found_encoder = open_encoder(config, encoder=encoder, texts=texts)
    meta = Meta(config, found_codec.identity, found_encoder.identity, config.prepare.fps, credit="")
    read = functools.partial(load_published, folder, config.network)
    identify = lambda: hash_samples(sorted(folder.rglob("*.safetensors")))
    return ModelFiles(meta, read, found_codec, found_encoder, str(folder), identify)
