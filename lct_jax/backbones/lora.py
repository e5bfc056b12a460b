"""Low-rank matrices beside the linear layers of any network (LoRA, arXiv 2106.09685).

Layers are replaced in a network that its family has built, so that no family knows of it. A stacked layer has one pair
of matrices for each block, with the same leading layer axis. Initial values are PEFT's: A is uniform, B is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lct_jax.config import LoraConfig
from lct_jax.distributed.sharding import count_shards, find_platform
from lct_jax.errors import InputError
from lct_jax.tensors import name_leaves

STACK = "blocks"  # the module that has the blocks of a network
_A, _B = ".lora.lora_a", ".lora.lora_b"


class LoRALinear(nnx.LoRALinear):
    """A linear layer plus `scale` times its low-rank matrices; made of a layer, whose parameters it takes over."""

    def __init__(self, layer: nnx.Linear, lora: LoraConfig, *, rngs: nnx.Rngs) -> None:
        stack = layer.kernel.shape[:-2]
        bound = layer.in_features**-0.5
        super().__init__(
            layer.in_features,
            layer.out_features,
            lora_rank=lora.rank,
            lora_dtype=layer.dtype,
            a_initializer=lambda key, shape, dtype: jax.random.uniform(
                key, (*stack, *shape), dtype, minval=-bound, maxval=bound
            ),
            b_initializer=lambda _, shape, dtype: jnp.zeros((*stack, *shape), dtype),
            use_bias=layer.use_bias,
            dtype=layer.dtype,
            precision=layer.precision,
            rngs=rngs,
        )
        self.kernel, self.bias, self.scale = layer.kernel, layer.bias, lora.scale

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns W x + b + scale B A x."""
        # On several devices the partitioner would exchange parts of sharded weights to join them.
        alone = count_shards("B") * count_shards("L") == 1
        if self.precision is not None or not alone or find_platform() != "tpu":
            return nnx.Linear.__call__(self, x) + self.scale * self.lora(x)
        dtype = self.dtype or x.dtype
        w, a, b = (
            part[...].astype(dtype) for part in (self.kernel, self.lora.lora_a, self.lora.lora_b)
        )
        y = multiply_low_rank(x.astype(dtype), w, a, self.scale * b)
        if self.bias is None:
            return y
        return y + self.bias[...].astype(dtype).reshape(*(1,) * (y.ndim - 1), -1)


@jax.custom_vjp
def multiply_low_rank(x: jax.Array, w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns x W + (x A) B.

    Where the result is not narrower than `x`, it is one product, of [x, x A] and [W; B]: of the sum of two, both parts
    would be in memory at once. So it is with the gradient of `x`.

    Args:
        x: [... D]. w: [D F]. a: [D R]. b: [R F].
    """
    return _multiply(x, w, a, b)[0]


def _multiply(
    x: jax.Array, w: jax.Array, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns x W + (x A) B, and x A."""
    low = x @ a
    if w.shape[0] > w.shape[1]:
        return x @ w + low @ b, low
    return jnp.concatenate([x, low], -1) @ jnp.concatenate([w, b]), low


def _multiply_forward(
    x: jax.Array, w: jax.Array, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    y, low = _multiply(x, w, a, b)
    return y, (x, w, a, b, low)


def _multiply_backward(
    kept: tuple[jax.Array, ...], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    x, w, a, b, low = kept
    dx, dlow = _multiply(dy, w.T, b.T, a.T)
    product = lambda left, right: jnp.einsum("...D,...F->DF", left, right)
    return dx, product(x, dy), product(x, dlow), product(low, dy)


multiply_low_rank.defvjp(_multiply_forward, _multiply_backward)


class LowRank(NamedTuple):
    """The matrices of one layer, of all blocks where it is stacked; the scale is a factor of `b`.

    Attributes:
        a: float32[... D R]. b: float32[... R F].
    """

    a: Any
    b: Any


def add_lora(network: nnx.Module, lora: LoraConfig, *, rngs: nnx.Rngs) -> None:
    """Gives the linear layers that `lora.targets` name their matrices, and casts the kernels of blocks.

    Raises:
        InputError: a target names no linear layer.
    """
    layers = dict(_list_linear(network))
    targeted = set()
    for target in lora.targets:
        found = {path for path in layers if f".{target}." in f".{'.'.join(path)}."}
        if not found:
            there = ", ".join(sorted(".".join(path) for path in layers))
            raise InputError(
                f"lora.targets: found {target!r}, expected a linear layer or a part of its name; there are {there}"
            )
        targeted |= found
    for path, layer in layers.items():
        if path[0] == STACK:
            layer.kernel.set_value(layer.kernel[...].astype(lora.base_dtype))
        if path in targeted:
            parent = network
            for name in path[:-1]:
                parent = getattr(parent, name)
            setattr(parent, path[-1], LoRALinear(layer, lora, rngs=rngs))


def is_low_rank(name: str) -> bool:
    """Returns whether a parameter is a matrix of a LoRA."""
    return name.endswith((_A, _B))


def is_block_kernel(name: str) -> bool:
    """Returns whether a parameter is a kernel of the blocks, which lies frozen in `lora.base_dtype`."""
    return name.startswith(f"{STACK}.") and name.endswith(".kernel")


def find_low_rank(trained: Any, lora: LoraConfig) -> dict[str, LowRank]:
    """Returns the matrices in the trained part of a network's parameters, by the name of their layer."""
    leaves = name_leaves(trained)
    return {
        layer: LowRank(leaves[f"{layer}{_A}"], leaves[f"{layer}{_B}"] * lora.scale)
        for layer in list_ranks(trained)
    }


def list_ranks(trained: Any) -> dict[str, int]:
    """Returns the rank of every layer that has matrices in the trained part of a network's parameters or shapes."""
    leaves = name_leaves(trained)
    return {name.removesuffix(_A): x.shape[-1] for name, x in leaves.items() if name.endswith(_A)}


def concatenate(loras: Sequence[Mapping[str, LowRank]]) -> dict[str, LowRank]:
    """Returns the sum of LoRAs as one, whose rank is the sum of theirs; its matrices are numpy arrays."""
    layers = {
        layer: [lora[layer] for lora in loras if layer in lora] for lora in loras for layer in lora
    }
    return {
        layer: LowRank(
            np.concatenate([pair.a for pair in pairs], axis=-1),
            np.concatenate([pair.b for pair in pairs], axis=-2),
        )
        for layer, pairs in layers.items()
    }


def weigh(lora: Mapping[str, LowRank], weight: float) -> dict[str, LowRank]:
    """Returns a LoRA that counts `weight` times."""
    return {layer: LowRank(pair.a, pair.b * np.float32(weight)) for layer, pair in lora.items()}


def fill_low_rank(shapes: Any, matrices: Mapping[str, LowRank]) -> Any:
    """Returns the trained part of a network's parameters with given matrices, filled up with zeros to its rank.

    Args:
        shapes: of that part. A leaf that has a sharding is placed by it; one that has none is a numpy array.
        matrices: by the name of their layer, of the rank of `shapes` or less; the scale of the network's LoRA is no
            factor of them.
    """

    def fill(name: str, leaf: Any) -> Any:
        layer, first = name.removesuffix(_A).removesuffix(_B), name.endswith(_A)
        whole = np.zeros(leaf.shape, np.float32)
        part = np.asarray(matrices[layer].a if first else matrices[layer].b)
        rank = part.shape[-1 if first else -2]
        whole[(..., slice(rank)) if first else (..., slice(rank), slice(None))] = part
        if leaf.sharding is None:
            return whole
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda at: whole[at])

    leaves = [fill(*item) for item in name_leaves(shapes).items()]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def merge_low_rank(
    params: Any, matrices: Mapping[str, LowRank], *, dtype: str | None = None
) -> Any:
    """Returns the parameters of a network with W + A B in place of W, summed in float32 and placed as they were.

    Args:
        params: of a network without LoRA; they may be donated and must not be used afterwards.
        matrices: by the name of their layer.
        dtype: of all parameters that are returned; None keeps that of each.
    """
    kernels = {f"{layer}.kernel": pair for layer, pair in matrices.items()}

    def merge(name: str, leaf: Any) -> Any:
        kind = jnp.dtype(dtype or leaf.dtype)
        return _add(leaf, kernels.pop(name), kind) if name in kernels else leaf.astype(kind)

    merged = [merge(*item) for item in name_leaves(params).items()]
    assert not kernels, f"no kernels {sorted(kernels)}"
    return jax.tree.unflatten(jax.tree.structure(params), merged)


def _add(kernel: Any, pair: LowRank, kind: jnp.dtype) -> jax.Array:
    """Adds the matrices of one layer, block by block where it is stacked."""

    def add(part: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        w, a, b = part
        low = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        return (w.astype(jnp.float32) + low).astype(kind)

    stacked, placed = kernel.ndim == 3, isinstance(kernel, jax.Array)
    return jax.jit(
        lambda *parts: jax.lax.map(add, parts) if stacked else add(parts),
        donate_argnums=(0,) if placed and kernel.dtype == kind else (),
        out_shardings=kernel.sharding if placed else None,
    )(kernel, *pair)


def _list_linear(network: nnx.Module) -> Iterator[tuple[tuple[str, ...], nnx.Linear]]:
    for path, module in nnx.iter_modules(network):
        if isinstance(module, nnx.Linear):
            yield tuple(map(str, path)), module
