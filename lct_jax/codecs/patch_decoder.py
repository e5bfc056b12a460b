"""Decodes the latents of a patch codec by a network, which sees neighbouring blocks and the frames before.

The patch codec decodes every block alone, so what moves within one is blurred, and a model that is not sure shows the
borders of blocks. This codec encodes exactly as the patch codec that it was trained for, bit for bit, and has its
identity: sets and weights that were made with either go on with the other. `lct_jax.codecs.train` trains the network,
which is the decoder of `tiny_vae.py` and starts as the patch codec.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lct_jax.codecs.chunks import frame_starts, iter_chunks, make_step
from lct_jax.codecs.patch import STRIDE, PatchCodec, tensor_shapes
from lct_jax.codecs.pixels import to_bytes
from lct_jax.codecs.tiny_vae import (
    Network,
    TinyVAEConfig,
    fill_network,
    make_header,
    read_header,
)
from lct_jax.tensors import dump_tensors, load_tensors, save_tensors

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
        values = {name: x.astype(np.float32) for name, x in self._tensors.items()}
        graph, params = fill_network(config, values)
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
        of_patch = {OF_PATCH + name: tensor for name, tensor in self._patch.tensors.items()}
        header = make_header(KIND, self._config, self._credit)
        save_tensors(path, of_patch | self._tensors, header)

    @classmethod
    def load(cls, path: Path, *, channels: int) -> PatchDecoder:
        """Reads what `save` wrote; raises InputError where kind, names, shapes or channels differ."""
        config, shapes, credit = read_header(path, KIND, channels=channels)
        sizes = tensor_shapes(channels)
        of_patch = {OF_PATCH + name: shape for name, shape in sizes.items()}
        tensors = load_tensors(path, shapes=shapes | of_patch, dropped={})
        patch = PatchCodec(**{name: tensors.pop(OF_PATCH + name) for name in sizes})
        return cls(config, patch, tensors, credit=credit)


CODEC = PatchDecoder
