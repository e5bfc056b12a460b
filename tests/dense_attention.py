"""Random rows of packed scenes, and a comparison of attention over them with the dense reference."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.attention.attend import attend_dense
from lct_jax.attention.chunked import MASKED, AttentionOutput
from lct_jax.attention.mask import KeySpans, Scope, find_spans, visible
from lct_jax.types import TokenIndex

# float32, and bfloat16 against float32 of the same numbers: scores, weights and results round by 2**-9 each.
TOLERANCES = {"float32": 3e-6, "bfloat16": 3e-2}


def draw_index(rng: np.random.Generator, *, rows: int, length: int) -> TokenIndex:
    """Returns rows of scenes and padding with tokens in a random order; groups have random sizes, some are empty."""
    leaves = np.zeros((2, rows, length), np.int32)
    for row in range(rows):
        cuts = np.sort(rng.integers(0, length + 1, 7))
        for group, (start, end) in enumerate(itertools.pairwise(cuts)):
            leaves[:, row, start:end] = [[1 + group // 3], [group % 3]]
        leaves[:, row] = leaves[:, row, rng.permutation(length)]
    scene, shot = leaves
    return TokenIndex(scene, shot, np.zeros_like(scene), np.zeros((rows, length, 3), np.int32))


def compile_comparison(
    run: Callable[[jax.Array, jax.Array, jax.Array, KeySpans], AttentionOutput], dtype: str
) -> Callable[..., list]:
    """Returns a jitted function of (spans, seen, q, k, v, weights) that gives [found, expected] of `run` and the
    reference: values, log-sum-exp, and gradients of both, `weights` being the gradients of the first two.
    """

    def values_and_gradients(mix, q, k, v, weights):
        weigh = lambda qkv: sum((w * x).sum() for w, x in zip(weights, mix(*qkv), strict=True))
        return mix(q, k, v), jax.grad(weigh)((q, k, v))

    @jax.jit
    def both(spans, seen, q, k, v, weights):
        finite = lambda out: out._replace(lse=jnp.where(out.lse == MASKED, 0.0, out.lse))
        dense = lambda q, k, v: finite(attend_dense(q, k, v, seen))
        fast = lambda q, k, v: finite(run(*(x.astype(dtype) for x in (q, k, v)), spans))
        return [values_and_gradients(mix, q, k, v, weights) for mix in (fast, dense)]

    return both


def check_random_rows(
    both: Callable[..., list],
    rng: np.random.Generator,
    *,
    queries: int,
    keys: int,
    scope: Scope,
    tolerance: float,
    width: int = 4,
) -> None:
    """Asserts that a comparison's two results are equal over two random rows of two heads."""
    query, key = (draw_index(rng, rows=2, length=length) for length in (queries, keys))
    shapes = [(2, 2, length, width) for length in (queries, keys, keys, queries)]
    # bfloat16 represents these numbers exactly.
    q, k, v, *weights = (
        np.float32(rng.normal(size=shape).astype(jnp.bfloat16))
        for shape in (*shapes, shapes[0][:-1])
    )
    found, expected = both(*_find_spans_and_mask(query, key, scope), q, k, v, weights)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.float32(a), b, atol=tolerance), found, expected
    )


@functools.partial(jax.jit, static_argnames="scope")
def _find_spans_and_mask(
    query: TokenIndex, key: TokenIndex, scope: Scope
) -> tuple[KeySpans, jax.Array]:
    return find_spans(query, key, scope), visible(query, key, scope)
