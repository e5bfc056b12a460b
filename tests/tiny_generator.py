"""A generator with random weights, and its weights as a file: what directs a scene needs no trained model."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
from scenes import randomise
from tiny_film import CONFIG, HEIGHT, ROOT, WIDTH

from lct_jax.backbones.registry import build_abstract
from lct_jax.codecs.registry import load_codec
from lct_jax.config import Context, SamplingConfig
from lct_jax.config.network import change, sections
from lct_jax.encoders.registry import make_encoder
from lct_jax.generator import Generator
from lct_jax.training.checkpoint.weights import Meta, save_weights

CODEC = ROOT / "examples/puppets/patch_codec.safetensors"
SAMPLING = SamplingConfig(
    steps=2, guidance=3.0, frames=5, height=HEIGHT, width=WIDTH, window=4, history_shots=3
)


def make_meta(context: Context) -> Meta:
    """Returns the meta of weights with this context, for the codec of the puppets."""
    config = dataclasses.replace(
        CONFIG,
        sampling=SAMPLING,
        training=dataclasses.replace(CONFIG.training, context=context),
        **sections(change(CONFIG.network, channels=32)),
    )
    codec = load_codec(CODEC, channels=32)
    width = config.backbone.text_width
    return Meta(config, codec.identity, make_encoder("stand_in", width=width).identity, 12.0, "Me")


@functools.cache
def make_generator(context: Context) -> Generator:
    """Returns the generator; its compiled programs are shared."""
    meta = make_meta(context)
    width = meta.config.backbone.text_width

    def read(shapes: Any) -> Any:
        return jax.tree.map(
            lambda leaf, shape: jax.device_put(leaf, shape.sharding), randomise(shapes), shapes
        )

    codec = load_codec(CODEC, channels=32)
    return Generator(meta, read, codec=codec, encoder=make_encoder("stand_in", width=width))


def write_weights(path: Path, context: Context) -> Path:
    """Writes the same weights as `lct_jax.export` does, and returns the path."""
    meta = make_meta(context)
    save_weights(path, randomise(build_abstract(meta.config.network).params), meta)
    return path
