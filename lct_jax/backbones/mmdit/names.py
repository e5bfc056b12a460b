"""Names of the MMDiT's parameters.

No weights of the paper's network are public, so published names are our own.
"""

from __future__ import annotations

from collections.abc import Mapping

from flax import nnx

from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.backbones.protocol import PublishedName
from lct_jax.config import NetworkConfig
from lct_jax.tensors import name_leaves


def decays(path: tuple[str, ...]) -> bool:
    """Returns whether weight decay applies to a parameter: it does to kernels outside the time modulation.

    Biases, norm scales and modulation are exempt, whatever their rank is when blocks are stacked [D].
    """
    return "kernel" in path and "time" not in path


def name_weights(config: NetworkConfig) -> Mapping[str, PublishedName]:
    """Returns the published name of every parameter; blocks are stacked along a leading axis, as in training."""
    shapes = nnx.split(nnx.eval_shape(lambda: MMDiT(config, rngs=nnx.Rngs(0))))[1]
    return {name: PublishedName(name) for name in name_leaves(shapes)}
