"""Which token sees which: the one mask of the project, and the same mask as intervals for kernels.

`visible` is the definition. Kernels do not build it: when tokens are sorted by scene and group, the keys that a query
sees are contiguous, so a mask of L x M booleans becomes two numbers a query. Text and video are stored as two streams;
sorting puts each group's text and video next to each other.

Where a shot's prompt is seen by that shot alone, what a query sees is two intervals: one of all keys but the prompts of
shots, and one of those prompts (`divide_keys`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.config import Context
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, TokenIndex

# How far a query sees within its scene.
Scope = Context | Literal["own"]
# More groups than a scene has, so that (scene, shot) can be sorted as one number.
GROUPS = 2**15
# The sort key of padding, which puts it behind all tokens.
LAST = jnp.iinfo(jnp.int32).max


def visible(query: TokenIndex, key: TokenIndex, scope: Scope) -> jax.Array:
    """Returns whether each query token sees each key token, bool[B L M].

    With full context, both must be in the same scene and neither may be padding. With causal context, the key's group
    may not be later than the query's either; inside a group attention stays bidirectional [LCT section 3.4]. With
    "own", both must be in the same group.
    """
    scene_q, scene_k = query.scene[:, :, None], key.scene[:, None, :]
    seen = (scene_q == scene_k) & (scene_k != PADDING_SCENE)
    shot_q, shot_k = query.shot[:, :, None], key.shot[:, None, :]
    if scope == "causal":
        seen &= shot_k <= shot_q
    elif scope == "own":
        seen &= shot_k == shot_q
    return seen


def divide_keys(key: TokenIndex, is_text_BL: jax.Array) -> tuple[TokenIndex, TokenIndex]:
    """Returns two indices of the keys: one without the prompts of shots, one of those alone; the rest is padding."""
    of_shot = is_text_BL & (key.shot != GLOBAL_SHOT)
    return hide(key, of_shot), hide(key, ~of_shot)


def hide(index: TokenIndex, hidden_BL: jax.Array) -> TokenIndex:
    """Returns the index with some tokens made padding, which no query sees."""
    return index._replace(scene=jnp.where(hidden_BL, PADDING_SCENE, index.scene))


class Permutation(NamedTuple):
    """A permutation of tokens, int32[B L] each.

    Attributes:
        order: the stored position of the n-th sorted token.
        inverse: the inverse permutation.
    """

    order: jax.Array
    inverse: jax.Array


class KeySpans(NamedTuple):
    """`visible` as intervals over sorted tokens; a forward pass makes it once for all blocks.

    Attributes:
        query, key: the `Permutation` of queries and keys.
        start, end: int32[B L], the half-open interval of sorted keys that the n-th sorted query sees; padding has an
            empty one.
        query_segment, key_segment: int32[B L] and [B M], the segment of the n-th sorted token: its scene, or for the
            scope "own" its scene and shot. A query sees the keys of its segment before `end`, which is the same set of
            keys in the form that some kernels take.
    """

    query: Permutation
    key: Permutation
    start: jax.Array
    end: jax.Array
    query_segment: jax.Array
    key_segment: jax.Array


def find_spans(query: TokenIndex, key: TokenIndex, scope: Scope) -> KeySpans:
    """Returns `visible(query, key, scope)` as intervals and segments."""
    rank_q, rank_k = _rank(query), _rank(key)
    order_q, order_k = _sort(rank_q), _sort(rank_k)
    sorted_q = jnp.take_along_axis(rank_q, order_q.order, axis=1)
    sorted_k = jnp.take_along_axis(rank_k, order_k.order, axis=1)
    scene = sorted_q // GROUPS * GROUPS
    # `start` is the first key of the scene or of the query's own group, `end` the first one after the scene or group.
    start = sorted_q if scope == "own" else scene
    end = scene + GROUPS if scope == "full" else sorted_q + 1
    find = jax.vmap(jnp.searchsorted)
    real = sorted_q != LAST
    segment_of = lambda rank: rank if scope == "own" else rank // GROUPS
    return KeySpans(
        query=order_q,
        key=order_k,
        start=jnp.where(real, find(sorted_k, jnp.where(real, start, 0)), 0),
        end=jnp.where(real, find(sorted_k, jnp.where(real, end, 0)), 0),
        query_segment=jnp.where(real, segment_of(sorted_q), PADDING_SCENE),
        key_segment=jnp.where(sorted_k != LAST, segment_of(sorted_k), PADDING_SCENE),
    )


@jax.custom_vjp
def reorder(x_BHLK: jax.Array, order_BL: jax.Array, inverse_BL: jax.Array) -> jax.Array:
    """Returns tokens in the order `order_BL`; the gradient is reordered with its inverse, `inverse_BL`.

    A gather's own gradient is a scatter-add, which is many times slower because it does not assume a permutation.
    """
    # A permutation is in bounds. A mode that fills values out of bounds would cost one more pass over the result.
    return jnp.take_along_axis(x_BHLK, order_BL[:, None, :, None], axis=2, mode="promise_in_bounds")


def _reorder_and_save(
    x: jax.Array, order: jax.Array, inverse: jax.Array
) -> tuple[jax.Array, Permutation]:
    return reorder(x, order, inverse), Permutation(order, inverse)


def _reorder_back(saved: Permutation, gradient: jax.Array) -> tuple[jax.Array, None, None]:
    return reorder(gradient, saved.inverse, saved.order), None, None


reorder.defvjp(_reorder_and_save, _reorder_back)


def _sort(rank_BL: jax.Array) -> Permutation:
    order = jnp.argsort(rank_BL, axis=1)
    return Permutation(order, jnp.argsort(order, axis=1))


def _rank(index: TokenIndex) -> jax.Array:
    return jnp.where(index.scene == PADDING_SCENE, LAST, index.scene * GROUPS + index.shot)
