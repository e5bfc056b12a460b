"""Decodes the latents of a patch codec by a network, which sees neighbouring blocks and the frames before.

The patch codec decodes every block alone, so what moves within one is blurred, and a model that is not sure shows the
borders of blocks. This codec encodes exactly as the patch codec that it was trained for, bit for bit, and has its
identity: sets and weights that were made with either go on with the other. `lct_jax.codecs.train` trains the network,
which is the decoder of `tiny_vae.py` and starts as the patch codec.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import jax
import numpy as np

from lct_jax.codecs.chunks import frame_starts, iter_chunks, make_step
from lct_jax.codecs.patch import BLOCK, STRIDE, PatchCodec
from lct_jax.codecs.pixels import to_bytes
from lct_jax.codecs.tiny_vae import Network, TinyVAEConfig, abstract_network
from lct_jax.errors import InputError
from lct_jax.tensors import (
    dump_tensors,
    load_tensors,
    name_leaves,
    read_metadata,
    save_tensors,
)

KIND = "patch_decoder"
OF_PATCH = "patch."  # begins the names of the patch codec's tensors in a file


class PatchDecoder:
    """Holds a patch codec and a trained decoder of its latents; satisfies `VideoCodec`.

    Args:
        config: the sizes of the network, which has no encoder. patch: what encodes.
        tensors: the parameters of the network by dotted name.
        credit: the credit line of the footage.

    Attributes:
        identity: that of the patch codec, since latents are equal. decoder: names the weights that decode.
    """

    stride = STRIDE

    def __init__(
        self,
        config: TinyVAEConfig,
        patch: PatchCodec,
        tensors: dict[str, np.ndarray],
        *,
        credit: str,
    ) -> None:
        self._config, self._patch, self._credit = config, patch, credit
        self.channels, self.identity = patch.channels, patch.identity
        # The weights are rounded to half precision, as the file keeps them, so that saving changes nothing.
        self._tensors = {name: x.astype(np.float16) for name, x in tensors.items()}
        digest = hashlib.sha256(dump_tensors(self._tensors)).hexdigest()
        self.decoder = f"patch-decoder:sha256:{digest[:16]}"
        graph, shapes = abstract_network(config)
        leaves = [self._tensors[name].astype(np.float32) for name in name_leaves(shapes)]
        params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
        self._decode = make_step(graph, params, Network.decode)

    def encode(self, video_TXYc: np.ndarray) -> np.ndarray:
        """Encodes uint8 [4n+1, height, width, 3] to float32 [n+1, height/8, width/8, channels]."""
        return self._patch.encode(video_TXYc)

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        """Decodes float32 [T, X, Y, channels] to uint8 [4T-3, 8X, 8Y, 3]."""
        latent = np.asarray(latent_TXYC, np.float32)
        chunks = iter_chunks(self._decode, latent, frame_starts(len(latent), 1))
        return np.concatenate([to_bytes(chunk) for chunk in chunks])

    def save(self, path: Path) -> None:
        """Writes the patch codec and the network, which is in float16, as safetensors; sizes and the credit are in the
        header."""
        metadata = {
            "codec": KIND,
            "config": json.dumps(dataclasses.asdict(self._config)),
            "credit": self._credit,
        }
        save_tensors(path, _name_patch(self._patch) | self._tensors, metadata)

    @classmethod
    def load(cls, path: Path, *, channels: int) -> PatchDecoder:
        """Reads what `save` wrote; raises InputError where kind, names, shapes or channels differ."""
        metadata = read_metadata(path)
        if metadata.get("codec") != KIND:
            raise InputError(f"{path}: found codec {metadata.get('codec')!r}, expected {KIND!r}")
        config = TinyVAEConfig(**json.loads(metadata["config"]))
        if config.channels != channels:
            raise InputError(f"{path}: found {config.channels} channels, expected {channels}")
        shapes = {
            name: leaf.shape for name, leaf in name_leaves(abstract_network(config)[1]).items()
        }
        sizes = {"mean": (BLOCK,), "basis": (BLOCK, channels), "scale": (channels,)}
        of_patch = {OF_PATCH + name: shape for name, shape in sizes.items()}
        tensors = load_tensors(path, shapes=shapes | of_patch, dropped={})
        patch = PatchCodec(**{name: tensors.pop(OF_PATCH + name) for name in sizes})
        return cls(config, patch, tensors, credit=metadata["credit"])


CODEC = PatchDecoder


def _name_patch(patch: PatchCodec) -> dict[str, np.ndarray]:
    named = {"mean": patch.mean, "basis": patch.basis, "scale": patch.scale}
    return {OF_PATCH + name: tensor for name, tensor in named.items()}
