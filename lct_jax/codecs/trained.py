"""Says what a training of a codec makes: the small VAE, or a decoder for a patch codec's latents.

Each has a way to come by latents while it trains, and a file of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from lct_jax.codecs.causal_conv import Past
from lct_jax.codecs.patch import PatchCodec
from lct_jax.codecs.patch_decoder import PatchDecoder
from lct_jax.codecs.pixels import to_floats
from lct_jax.codecs.tiny_training import (
    CodecState,
    CodecTrainingConfig,
    Encode,
    draw_latents,
    make_latents_of,
)
from lct_jax.codecs.tiny_vae import TinyVAE, abstract_network
from lct_jax.tensors import name_leaves

VAE_FILE, DECODER_FILE = "vae.safetensors", "decoder.safetensors"


class Trained(NamedTuple):
    """Holds what is particular to that which is trained.

    Attributes:
        encode: gives the latents of clips. file: the name of the weights in the folder of the run.
        write: writes the EMA of a state to a path.
    """

    encode: Encode
    file: str
    write: Callable[[Path, CodecState], None]


def choose_trained(
    config: CodecTrainingConfig, patch: PatchCodec, *, shots: list[np.ndarray], credit: str
) -> Trained:
    """Returns what a config trains.

    Args:
        patch: the codec whose latents are decoded, or from which a VAE begins. shots: those trained on, uint8
            [T X Y 3]. credit: the credit line of the footage.
    """
    if config.latents_of:
        write = partial(write_decoder, patch=patch, config=config, credit=credit)
        return Trained(make_latents_of(patch, noise=config.latent_noise), DECODER_FILE, write)
    write = partial(write_vae, shots=shots, config=config, credit=credit)
    return Trained(draw_latents, VAE_FILE, write)


def write_vae(
    path: Path,
    state: CodecState,
    *,
    shots: list[np.ndarray],
    config: CodecTrainingConfig,
    credit: str,
) -> None:
    """Writes the EMA as a VAE, with the statistics of its latents over the shots trained on."""
    graph, shapes = abstract_network(config.network)
    params = jax.tree.unflatten(jax.tree.structure(shapes), jax.tree.leaves(state.ema))

    @jax.jit
    def encode(video: jax.Array) -> jax.Array:
        return nnx.merge(graph, params).encode(video, Past(None))[0]

    length = config.clip_frames
    latents = [
        np.asarray(encode(to_floats(shot[None, :length]))).reshape(-1, config.channels)
        for shot in shots
        if len(shot) >= length
    ]
    values = np.concatenate(latents)
    mean = values.mean(axis=0)
    tensors = {name: np.asarray(leaf) for name, leaf in name_leaves(params).items()}
    tensors |= {"latent.mean": mean, "latent.scale": np.sqrt(np.square(values - mean).mean())[None]}
    TinyVAE(config.network, tensors, credit=credit).save(path)


def write_decoder(
    path: Path, state: CodecState, *, patch: PatchCodec, config: CodecTrainingConfig, credit: str
) -> None:
    """Writes the EMA as a decoder of a patch codec's latents."""
    tensors = {name: np.asarray(leaf) for name, leaf in name_leaves(state.ema).items()}
    PatchDecoder(config.network, patch, tensors, credit=credit).save(path)
