"""Implements a linear space-time patch transform fitted to footage: the simplest and cheapest video codec.

Blocks of 4 frames x 8 x 8 pixels are projected onto their first principal components. The first frame of a video stands
alone: it is coded as a block of four equal frames, so stills and moving blocks share one basis and one latent
statistic. Components are scaled to the square root of their standard deviation (over a common factor that makes the
mean square one): half way between whitening, which gives noise-like detail as much weight as light and colour, and no
scaling, in which the strongest component dominates all others.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from einops import rearrange, repeat
from threadpoolctl import ThreadpoolController

from lct_jax.codecs.pixels import check_video, to_bytes, to_floats
from lct_jax.errors import InputError
from lct_jax.tensors import load_tensors, save_tensors

STRIDE = (4, 8, 8)
BLOCK = STRIDE[0] * STRIDE[1] * STRIDE[2] * 3


class PatchCodec:
    """Holds a fitted transform; satisfies `VideoCodec`.

    Attributes:
        mean: float32[768], basis: float32[768, channels], scale: float32[channels].
    """

    stride = STRIDE

    def __init__(self, *, mean: np.ndarray, basis: np.ndarray, scale: np.ndarray) -> None:
        # Arrays are kept in rows, as in a file: rounding depends on the order in memory, and a saved codec must round
        # alike.
        self.mean, self.basis, self.scale = mean, np.ascontiguousarray(basis), scale
        self.channels = basis.shape[1]
        digest = hashlib.sha256(
            b"".join(np.ascontiguousarray(a).tobytes() for a in (mean, basis, scale))
        )
        self.identity = f"patch-4x8x8x{self.channels}:sha256:{digest.hexdigest()[:16]}"

    def encode(self, video_TXYc: np.ndarray) -> np.ndarray:
        """Encodes uint8 [4n+1, height, width, 3] to float32 [n+1, height/8, width/8, channels]."""
        blocks = _to_blocks(_lead_in(check_video(video_TXYc, STRIDE)))
        with _one_thread():
            return ((blocks - self.mean) @ self.basis / self.scale).astype(np.float32)

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        """Decodes float32 [T, X, Y, channels] to uint8 [4T-3, 8X, 8Y, 3]."""
        with _one_thread():
            blocks = (latent_TXYC * self.scale) @ self.basis.T + self.mean
        t, x, y = STRIDE
        video = rearrange(blocks, "T X Y (t x y c) -> (T t) (X x) (Y y) c", t=t, x=x, y=y, c=3)
        first = video[:t].mean(axis=0, keepdims=True)
        return to_bytes(np.concatenate([first, video[t:]]))

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The transform by the names of its file."""
        return {"mean": self.mean, "basis": self.basis, "scale": self.scale}

    def save(self, path: Path) -> None:
        """Writes the transform as safetensors."""
        save_tensors(path, self.tensors, {"codec": "patch"})

    @classmethod
    def load(cls, path: Path, *, channels: int) -> PatchCodec:
        """Reads what `save` wrote; raises InputError where names or shapes differ."""
        return cls(**load_tensors(path, shapes=tensor_shapes(channels), dropped={}))


CODEC = PatchCodec


def tensor_shapes(channels: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of `PatchCodec.tensors`."""
    return {"mean": (BLOCK,), "basis": (BLOCK, channels), "scale": (channels,)}


def fit_patch_codec(
    videos: Iterable[np.ndarray], *, channels: int, blocks_a_video: int = 600, seed: int = 0
) -> PatchCodec:
    """Fits the transform by principal component analysis, one video in memory at a time.

    Args:
        videos: uint8 shots [4n+1, height, width, 3]; sides multiples of 8.
        channels: the number of components kept, at most 768.
        blocks_a_video: the number of blocks drawn from each video, so that long shots weigh no more than short ones.
        seed: the seed of that draw.

    Raises:
        InputError: no video, or more channels than a block has numbers.
    """
    if not 0 < channels <= BLOCK:
        raise InputError(
            f"backbone.channels: found {channels}, expected 1 to {BLOCK} for the patch codec"
        )
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(BLOCK)
    count, total, products = 0, np.zeros(BLOCK), np.zeros((BLOCK, BLOCK))
    for video in videos:
        blocks = _to_blocks(_lead_in(check_video(video, STRIDE))).reshape(-1, BLOCK)
        drawn = blocks[rng.permutation(len(blocks))[:blocks_a_video]].astype(np.float64)
        count += len(drawn)
        total += drawn.sum(axis=0)
        products += drawn.T @ drawn
    if not count:
        raise InputError("patch codec: found no video to fit to, expected at least one")
    mean = total / count
    variance, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    largest = np.argsort(variance)[::-1][:channels]
    deviation = np.sqrt(np.maximum(variance[largest], 1e-12))
    # With this scale the mean square of the latents is 1.
    scale = np.sqrt(deviation) * np.sqrt(deviation.mean())
    basis = vectors[:, largest]
    # The sign must not depend on the solver; it follows a drawn direction, since many components sum to zero.
    basis = basis * np.where(direction @ basis < 0, -1, 1)
    # The basis is stored as in a file: products with a transposed one round differently from those with a loaded one.
    mean, basis, scale = (np.ascontiguousarray(x, np.float32) for x in (mean, basis, scale))
    return PatchCodec(mean=mean, basis=basis, scale=scale)


def _one_thread() -> AbstractContextManager[object]:
    """Returns a context in which numpy multiplies matrices by one thread.

    A product of blocks is too small to be divided: beside other work, such as further processes that prepare footage,
    threads wait for each other for a hundred times as long as they compute, and rounding follows their number.
    """
    return _find_thread_pools().limit(limits=1, user_api="blas")


@functools.cache
def _find_thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _lead_in(video_TXYc: np.ndarray) -> np.ndarray:
    """Repeats the first frame to a full block, and scales bytes to -1..1."""
    first = repeat(video_TXYc[:1], "1 x y c -> t x y c", t=STRIDE[0])
    return to_floats(np.concatenate([first, video_TXYc[1:]]))


def _to_blocks(video: np.ndarray) -> np.ndarray:
    t, x, y = STRIDE
    return rearrange(video, "(T t) (X x) (Y y) c -> T X Y (t x y c)", t=t, x=x, y=y)
