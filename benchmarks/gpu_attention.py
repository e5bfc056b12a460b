"""Holds attention kernels to the reference on a GPU, and times them beside those of PyTorch and cuDNN."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.attention import triton
from lct_jax.attention.attend import attend, attend_dense, name_kernel
from lct_jax.attention.mask import find_spans, visible
from lct_jax.config import Context
from lct_jax.types import TokenIndex

Mix = Callable[..., jax.Array]
HEAD_DIM = 128
# Of weights and results that are rounded to bfloat16, over the largest number of a result.
FARTHEST = 2e-2
# Matrix products for a pair, forward and backward, of which each has 2 x HEAD_DIM FLOPs: those that are useful.
FORWARD, BACKWARD = 2, 4
SHOTS = 9


def hold(tiny: bool) -> dict[str, Any]:
    """Returns the largest relative difference from dense attention, by kernel and context; raises where one is far.

    Raises:
        AssertionError: a kernel is farther from the reference than rounding explains.
    """
    length, rng = (200 if tiny else 2000), np.random.default_rng(0)
    found = {"device": jax.devices()[0].device_kind}
    kernels = ["chunked", *({name_kernel("auto", jax.default_backend())} - {"chunked"})]
    for kernel, context in itertools.product(kernels, ("full", "causal")):
        index = _draw_index(rng, rows=2, length=length)
        q, k, v, weight = (_draw(rng, (2, 4, length, HEAD_DIM)) for _ in range(4))
        spans, seen = find_spans(index, index, context), visible(index, index, context)
        fast = functools.partial(attend, spans=spans, kernel=kernel)
        dense = functools.partial(attend_dense, seen_BLM=seen)
        ours = _differentiate(lambda *x, run=fast: run(*x).value)(q, k, v, weight)
        with jax.default_matmul_precision("highest"):
            exact = (x.astype(jnp.float32) for x in (q, k, v, weight))
            theirs = _differentiate(lambda *x, run=dense: run(*x).value)(*exact)
        apart = [_compare(*pair) for pair in zip(ours, theirs, strict=True)]
        found[f"{kernel}, {context}"] = dict(zip(("value", "dq", "dk", "dv"), apart, strict=True))
        assert max(apart) < FARTHEST, found
    return found


def time_attention(tiny: bool) -> dict[str, Any]:
    """Returns, by length and by what computes it, seconds and useful TFLOP/s of a forward and of both passes."""
    rng = np.random.default_rng(0)
    heads, found = (2 if tiny else 8), {"device": jax.devices()[0].device_kind}
    for length in (128, 256) if tiny else (8_192, 32_768, 131_072):
        q, k, v, weight = (_draw(rng, (1, heads, length, HEAD_DIM)) for _ in range(4))
        for context in ("full", "causal"):
            index = _shots(length, SHOTS)
            spans = find_spans(index, index, context)
            run = lambda *x, spans=spans: attend(*x, spans=spans).value
            pairs = heads * _count_pairs(index, context)
            found[f"{length} tokens, ours, {context}"] = _rate(run, (q, k, v, weight), pairs)
        pairs = heads * length**2
        if jax.default_backend() == "gpu":
            found[f"{length} tokens, cuDNN, full"] = _rate(_cudnn, (q, k, v, weight), pairs)
        found[f"{length} tokens, PyTorch, full"] = _rate_torch((q, k, v, weight), pairs)
    return found


def tune(tiny: bool) -> dict[str, Any]:
    """Returns the seconds of our Triton kernel by blocks, warps and stages; one that does not compile says so."""
    rng, length = np.random.default_rng(0), (128 if tiny else 32_768)
    inputs = [_draw(rng, (1, 2 if tiny else 8, length, HEAD_DIM)) for _ in range(4)]
    index, interpret = _shots(length, SHOTS), jax.default_backend() != "gpu"
    spans, found = find_spans(index, index, "causal"), {}
    for choice in itertools.product((64, 128), (4, 8), (2, 3)):
        triton.BLOCK, triton.WARPS, triton.STAGES = choice
        # A function of its own, so that nothing is reused of what was traced for other blocks.
        run = lambda *x: triton.attend_triton(*x, spans.start, spans.end, interpret).value
        name = "blocks of {}, {} warps, {} stages".format(*choice)
        found[name] = _rate(run, inputs, inputs[0].shape[1] * _count_pairs(index, "causal"))
        if tiny:
            break
    return found


def _rate(mix: Mix, inputs: Any, pairs: float) -> dict[str, Any]:
    *qkv, weight = inputs
    try:
        one, two = jax.jit(mix), _differentiate(mix)
        forward = _time(lambda: jax.block_until_ready(one(*qkv)))
        both = _time(lambda: jax.block_until_ready(two(*qkv, weight)))
    except Exception as error:  # a kernel that does not compile or run is a result here
        return {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
    return _describe(forward, both, pairs)


def _rate_torch(inputs: Any, pairs: float) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"failed": "PyTorch is not installed"}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    move = lambda x: torch.tensor(np.asarray(x, np.float32)).to(device, torch.bfloat16)
    *qkv, weight = map(move, inputs)
    qkv = [x.requires_grad_() for x in qkv]
    mix = torch.nn.functional.scaled_dot_product_attention
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)

    def forward() -> None:
        with torch.no_grad():
            mix(*qkv)
        wait()

    def both() -> None:
        torch.autograd.grad(mix(*qkv), qkv, weight)
        wait()

    return _describe(_time(forward), _time(both), pairs)


def _time(call: Callable[[], Any], *, repeats: int = 5) -> float:
    """Returns the fewest seconds of a call, after one that compiles; a slow one is repeated less often."""
    call()
    best = float("inf")
    end = time.perf_counter() + 2.0
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
        if time.perf_counter() > end:
            break
    return best


def _describe(forward: float, both: float, pairs: float) -> dict[str, float]:
    flops = 2.0 * HEAD_DIM * pairs
    return {
        "forward, s": forward,
        "forward, TFLOP/s": FORWARD * flops / forward / 1e12,
        "both, s": both,
        "both, TFLOP/s": (FORWARD + BACKWARD) * flops / both / 1e12,
    }


def _differentiate(mix: Mix) -> Callable[..., tuple[jax.Array, ...]]:
    """Returns a jitted function of q, k, v and the gradient of the value: the value and the three gradients."""

    def run(*inputs: jax.Array) -> tuple[jax.Array, ...]:
        value, pull = jax.vjp(mix, *inputs[:-1])
        return value, *pull(inputs[-1].astype(value.dtype))

    return jax.jit(run)


def _cudnn(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    turn = lambda x: x.swapaxes(1, 2)  # between [B H L K] and [B L H K]
    value = jax.nn.dot_product_attention(*map(turn, (q, k, v)), implementation="cudnn")
    return turn(value)


def _compare(found: jax.Array, expected: jax.Array) -> float:
    found, expected = (np.asarray(x, np.float32) for x in (found, expected))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _draw(rng: np.random.Generator, shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape, np.float32), jnp.bfloat16)


def _draw_index(rng: np.random.Generator, *, rows: int, length: int) -> TokenIndex:
    """Returns rows of three scenes of three shots of random sizes, then padding, in a random order."""
    scene, shot = np.zeros((2, rows, length), np.int32)
    for row in range(rows):
        cuts = np.sort(rng.integers(0, length + 1, 10))
        group = np.searchsorted(cuts, np.arange(length), side="right") - 1
        real = (group >= 0) & (group < 9)
        order = rng.permutation(length)
        scene[row] = np.where(real, 1 + group // 3, 0)[order]
        shot[row] = np.where(real, group % 3, 0)[order]
    return _index(scene, shot)


def _shots(length: int, shots: int) -> TokenIndex:
    """Returns one row that one scene of equal shots fills."""
    shot = (np.arange(length) * shots // length).astype(np.int32)[None]
    return _index(np.ones_like(shot), shot)


def _index(scene: np.ndarray, shot: np.ndarray) -> TokenIndex:
    coord = np.zeros((*scene.shape, 3), np.int32)
    return TokenIndex(*map(jnp.asarray, (scene, shot, np.zeros_like(scene), coord)))


def _count_pairs(index: TokenIndex, context: Context) -> float:
    sizes = np.bincount(np.asarray(index.shot[0])).astype(float)
    return float(sizes.sum() ** 2 if context == "full" else sizes @ np.cumsum(sizes))
